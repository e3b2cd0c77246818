/** `npm run soak`: starts load, models and fuzzers beside each other, and tells what failed. Started by scripts/soak.mjs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Refusal, soakPlan, USAGE } from './plan.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Where the load leaves its series and plot; kept out of the repository. */
const RESULTS = 'bench/results';
/** The smallest first. */
const FUZZERS = ['cache-journal', 'fuzz-files', 'fuzz'];
/** Of what a part says, kept for its failure. */
const LAST_LINES = 60;

const children = new Set<ChildProcess>();

/** Runs a part to its end; true if all was well. `told`: the lines that are shown while it runs, the others only if it fails. */
async function run(
  name: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  told = /./,
): Promise<boolean> {
  const child = spawn(process.execPath, ['--import=tsx', ...args], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', line => {
      if (told.test(line)) console.log(`${name}: ${line}`);
      else if (last.push(line) > LAST_LINES) last.shift();
    });
  }
  const code = await new Promise(resolve => child.once('close', resolve));
  children.delete(child);
  if (code !== 0) for (const line of [...last, `FAILED (${code ?? child.signalCode})`]) console.log(`${name}: ${line}`);
  return code === 0;
}

let isStopped = false;

async function fuzz(inputs: number): Promise<boolean> {
  let isWell = true;
  for (const name of FUZZERS) {
    if (isStopped) return false;
    const environment = { S3MOUNT_FUZZ_RUNS: String(inputs), FUZZ: String(inputs), TAP_TIMEOUT: '0' };
    // Of its tests, not of their assertions. What a failure takes to be played again, fast-check says in it.
    isWell = (await run(name, [`test/unit/${name}.test.ts`], environment, /^(not )?ok /)) && isWell;
  }
  return isWell;
}

async function main(): Promise<void> {
  const plan = soakPlan(process.argv.slice(2), Date.now());
  if (plan === undefined) {
    console.log(USAGE);
    return;
  }
  const { minutes, seed, properties, inputs, writeDocs } = plan;
  const parts: Promise<boolean>[] = [];
  console.log(`soak: ${minutes} minutes, from seed ${seed}`);
  if (plan.load) {
    const args = [String(minutes * 60), String(seed), RESULTS, ...(writeDocs ? ['write-docs'] : [])];
    parts.push(run('load', ['test/soak/load.ts', ...args]));
  }
  if (properties.length > 0) {
    parts.push(run('models', ['test/soak/models.ts', String(minutes), String(seed), ...properties]));
  }
  if (inputs > 0) {
    console.log(`soak: ${inputs.toLocaleString('en')} inputs for each fuzzer, however long they take`);
    parts.push(fuzz(inputs));
  }
  const failed = (await Promise.all(parts)).filter(isWell => !isWell).length;
  console.log(failed === 0 ? 'soak: all was well' : `soak: ${failed} of ${parts.length} parts failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    isStopped = true;
    for (const child of children) child.kill(signal);
    process.exitCode = 1;
  });
}
try {
  await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(`soak: ${error.message}`);
  process.exitCode = 2;
}
