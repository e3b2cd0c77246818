// `npm run bench [-- --quick …]`: builds s3mount and the benchmark, runs it, and takes away whatever is left behind.
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cleanUp, mountsBelow } from './leftovers.mjs';
import { buildBundle, install, openFuseDevice, Refusal, root } from './prepare.mjs';
import { demoRequirements } from './requirements.mjs';

// --prepared: everything is installed and built; for whoever measures several times.
const args = process.argv.slice(2).filter(arg => arg !== '--prepared');
const prepared = args.length < process.argv.length - 2;

/** Caches and journals belong on a disk, and /tmp is memory on many systems. */
function diskDirectory() {
  try {
    accessSync('/var/tmp', constants.W_OK);
    return '/var/tmp';
  } catch {
    return tmpdir();
  }
}

/** Bundled, so that programs start in a moment and without a compiler beside them. */
async function buildBenchmark(outdir) {
  // Not above: in a bare clone it has yet to be installed.
  const { build } = await import('esbuild');
  await build({
    absWorkingDir: root,
    entryPoints: {
      main: 'bench/mounts/main.ts',
      load: 'bench/mounts/load.ts',
      raw: 'bench/mounts/raw.ts',
      'embedded-s3/main': 'src/embedded-s3/main.ts',
    },
    outdir,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    logLevel: 'warning',
  });
  writeFileSync(join(outdir, 'package.json'), '{ "type": "module" }\n');
}

async function main() {
  if (!prepared) {
    install(demoRequirements, line => console.log(`bench: ${line}`));
    buildBundle();
  }
  const closeFuseDevice = process.getuid() === 0 ? () => {} : openFuseDevice();
  const build = join(root, 'bench/results/build');
  await buildBenchmark(build);
  const work = mkdtempSync(join(diskDirectory(), 's3mount-bench-'));
  // The benchmark hears Ctrl-C itself, and ends in order.
  process.on('SIGINT', () => {});
  try {
    const child = spawn(process.execPath, [join(build, 'main.js'), work, ...args], {
      stdio: 'inherit',
      // By this the leftovers are known.
      env: { ...process.env, TMPDIR: work },
    });
    process.exitCode = await new Promise(done => child.once('exit', code => done(code ?? 1)));
  } finally {
    for (const line of cleanUp(work)) console.log(`bench: ${line}`);
    // Through a mount that is still there this would empty a bucket.
    if (mountsBelow(work).length === 0) rmSync(work, { recursive: true, force: true });
    closeFuseDevice();
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
