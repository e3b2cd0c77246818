// Bundles src/cli into dist/: one entry, code split at dynamic imports, so that `--help` and the command that only starts
// the daemon do not load the S3 SDK. Types are not checked here: that is `npm run check`.
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));

rmSync(`${root}dist`, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: { main: 'src/cli/main.ts', demo: 'src/cli/demo.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
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
});
