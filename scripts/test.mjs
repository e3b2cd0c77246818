// The one command for tests:  npm test [-- GROUP... | FILE...]
// Says what it will install and how long it takes, installs it, builds, runs, and ends with `N passed, N failed`.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { cleanUp } from './leftovers.mjs';
import {
  buildBundle,
  install,
  installCargo,
  installFuseNative,
  installNodes,
  installPython,
  openFuseDevice,
  prepareTap,
  Refusal,
  root,
} from './prepare.mjs';
import { fileLimit, groups } from './requirements.mjs';
import { TapOutput } from './tap-output.mjs';

const log = line => console.log(line);

/** [{ name, group, files }] in the order of the groups. */
function chooseTests(args) {
  const files = args.filter(arg => arg.endsWith('.ts')).map(arg => relative(root, resolve(arg)));
  const names = args.filter(arg => !arg.endsWith('.ts'));
  const unknown = names.find(name => !Object.hasOwn(groups, name));
  if (unknown !== undefined)
    throw new Refusal(`there is no group '${unknown}'; groups: ${Object.keys(groups).join(', ')}.`);
  const chosen = [];
  for (const [name, group] of Object.entries(groups)) {
    const all = group.directories.flatMap(filesBelow);
    const wanted = args.length === 0 || names.includes(name) ? all : all.filter(file => files.includes(file));
    if (wanted.length > 0) chosen.push({ name, group, files: wanted });
  }
  return chosen;
}

function filesBelow(directory) {
  const path = join(root, 'test', directory);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true })
    .filter(name => name.endsWith('.test.ts'))
    .map(name => join('test', directory, name))
    .sort();
}

/** Runs one group; resolves to its totals. */
async function runGroup({ name, group, files }, environment) {
  log(`\n${name}: ${files.length} files`);
  const output = new TapOutput((file, ok, ms, failures) => {
    log(`${ok ? 'ok     ' : 'NOT OK '} ${file} (${(ms / 1000).toFixed(1)} s)`);
    for (const line of failures) log(line);
  });
  const tap = spawn(
    process.execPath,
    [
      'node_modules/tap/dist/esm/run.mjs',
      'run',
      '--reporter=tap',
      `--jobs=${group.jobs}`,
      `--timeout=${fileLimit}`,
      ...files,
    ],
    { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = new Promise(done => tap.once('close', done));
  for await (const line of createInterface({ input: tap.stdout })) output.line(line);
  const code = await ended;
  const totals = output.totals ?? { total: 0, pass: 0, fail: 0, skip: 0, todo: 0 };
  // A runner that died, or files without a test, are failures even if nothing was counted.
  if (totals.total === 0 || (code !== 0 && totals.fail === 0)) totals.fail++;
  return totals;
}

async function main() {
  const args = process.argv.slice(2);
  const chosen = chooseTests(args);
  if (chosen.length === 0) throw new Refusal('there is no such test.');
  const whole = args.length === 0;
  const minutes = chosen.reduce((sum, { group }) => sum + group.minutes, 0);
  log(`npm test: ${chosen.map(({ name }) => name).join(', ')}; at most ${minutes} minutes on two cores`);
  install(
    chosen.flatMap(({ group }) => group.requirements),
    log,
  );
  if (chosen.some(({ group }) => group.python)) installPython(log);
  if (chosen.some(({ group }) => group.nodes)) installNodes(log);
  if (chosen.some(({ group }) => group.cargo)) installCargo(log);
  if (chosen.some(({ group }) => group.fuseNative)) installFuseNative(log);
  prepareTap();
  buildBundle();
  const directory = mkdtempSync(join(tmpdir(), 's3mount-test-'));
  const needsFuse = chosen.some(({ group }) => group.requirements.some(item => item.program === 'fusermount3'));
  const closeFuseDevice = needsFuse ? openFuseDevice() : () => {};
  // Tests that mount as an ordinary user have to pass through.
  spawnSync('chmod', ['0755', directory]);
  const restore = () => {
    const left = cleanUp(directory);
    rmSync(directory, { recursive: true, force: true });
    closeFuseDevice();
    return left;
  };
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      restore();
      process.exit(1);
    });
  }
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  if (whole) {
    log('\ncheck: format, lint, types');
    if (spawnSync(process.execPath, ['scripts/check.mjs', '--no-tests'], { cwd: root, stdio: 'inherit' }).status !== 0)
      failed++;
  }
  for (const each of chosen) {
    const totals = await runGroup(each, { ...process.env, TMPDIR: directory });
    passed += totals.pass;
    failed += totals.fail;
    skipped += totals.skip + totals.todo;
  }
  for (const line of restore()) {
    log(line);
    failed++;
  }
  if (skipped > 0) log(`${skipped} skipped`);
  log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(`npm test: ${error.message}`);
  console.log('\n0 passed, 1 failed');
  process.exitCode = 1;
}
