// Bundles src/cli into dist/: one entry, code split at dynamic imports, so that `--help` and the command that only starts
// the daemon do not load the S3 SDK. Types are not checked here: that is `npm run check`.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { licencesOf } from './licences.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));

// Built aside and then put in place: a build that fails, or runs beside a test, leaves a whole dist/ behind.
const aside = `${root}dist.${process.pid}`;
try {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { main: 'src/cli/main.ts', demo: 'src/cli/demo.ts' },
    outdir: aside,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    // The SDK's ES modules can be shaken and keep their names in a dynamic import; its CommonJS ones do neither.
    mainFields: ['module', 'main'],
    target: 'node20.19',
    sourcemap: 'linked',
    sourcesContent: false,
    legalComments: 'linked',
    // koffi finds its library beside its own files, so it stays a package.
    external: ['koffi'],
    define: { S3MOUNT_VERSION: JSON.stringify(version) },
    // Some dependencies are CommonJS and require Node's own modules, which an ES module has no `require` for.
    banner: {
      js: "import { createRequire as s3mountRequire } from 'node:module'; const require = s3mountRequire(import.meta.url);",
    },
    logLevel: 'warning',
    metafile: true,
  });
  const inputs = [...Object.keys(metafile.inputs), 'node_modules/koffi/'];
  writeFileSync(`${aside}/LICENSES.txt`, licencesOf(inputs, root));
  const old = `${aside}.old`;
  try {
    renameSync(`${root}dist`, old);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  renameSync(aside, `${root}dist`);
  rmSync(old, { recursive: true, force: true });
} finally {
  rmSync(aside, { recursive: true, force: true });
}
