// `npm run soak [-- --minutes N] [--seed N] [NAME…]`: load, models and fuzzers for an hour; `-- --help` tells more.
// A failure is printed with what it takes to play it again; the soak goes on and ends with 1.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cleanUp, mountsBelow } from './leftovers.mjs';
import { buildBundle, install, openFuseDevice, prepareTap, Refusal, root } from './prepare.mjs';
import { loadRequirements } from './requirements.mjs';

/** What is wrong with the words `test/soak/plan.ts` says; here only whether anything will be mounted. */
function mounts(args) {
  const value = { type: 'string' };
  const { values, positionals } = parseArgs({
    args,
    options: { minutes: value, inputs: value, seed: value, help: { type: 'boolean', short: 'h' } },
    allowPositionals: true,
    strict: false,
  });
  return values.help !== true && (positionals.length === 0 || positionals.includes('load'));
}

async function main() {
  const args = process.argv.slice(2);
  const isMounting = mounts(args);
  install(isMounting ? loadRequirements : [], line => console.log(`soak: ${line}`));
  prepareTap();
  if (isMounting) buildBundle();
  const closeFuseDevice = isMounting && process.getuid() !== 0 ? openFuseDevice() : () => {};
  const work = mkdtempSync(join(tmpdir(), 's3mount-soak-'));
  const child = spawn(process.execPath, ['--import=tsx', 'test/soak/main.ts', ...args], {
    cwd: root,
    stdio: 'inherit',
    // By TMPDIR the leftovers are known; the SDK's advice about versions of Node is not for whoever reads a soak.
    env: { ...process.env, TMPDIR: work, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
  });
  // Ctrl-C reaches all of them; they end, and what they leave is taken away below.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  try {
    process.exitCode = await new Promise(done => child.once('exit', code => done(code ?? 1)));
  } finally {
    for (const line of cleanUp(work)) {
      console.log(`soak: ${line}`);
      process.exitCode ||= 1;
    }
    // Through a mount that is still there this would empty a bucket.
    if (mountsBelow(work).length === 0) rmSync(work, { recursive: true, force: true });
    closeFuseDevice();
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(`soak: ${error.message}`);
  process.exitCode = 1;
}
