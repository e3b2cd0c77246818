// Brings a bare clone to the point where something can run: says what it will install, installs it, builds.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cargoPackages, fuseNative, nodeVersions, npmPackages, pythonPackages } from './requirements.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** A sentence for people; no stack. */
export class Refusal extends Error {}

const isRoot = process.getuid() === 0;

/** `/sbin` and the like are not in everybody's PATH, but programs lie there. */
const directories = [
  ...(process.env.PATH ?? '').split(delimiter),
  '/usr/local/bin',
  '/usr/bin',
  '/bin',
  '/usr/sbin',
  '/sbin',
  // Where rustup puts cargo; only login shells have it in their PATH.
  join(homedir(), '.cargo/bin'),
];

export function hasProgram(program) {
  return directories.some(directory => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function isThere({ program, check }) {
  if (!hasProgram(program)) return false;
  return check === undefined || spawnSync(check[0], check.slice(1), { stdio: 'ignore' }).status === 0;
}

/** Runs a command before everybody's eyes; throws a Refusal with `failure` if it fails. */
export function run(command, args, failure, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (status !== 0) throw new Refusal(`${failure}${error ? ` (${error.message})` : ''}`);
}

/** As root, or by sudo where it asks nothing. False if neither. */
function asRoot(command, args, stdio = 'inherit') {
  const [program, ...rest] = isRoot ? [command, ...args] : ['sudo', '-n', command, ...args];
  return spawnSync(program, rest, { stdio, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }).status === 0;
}

/** Says first what will be installed and how long it takes, then does it. */
export function install(requirements, log) {
  const missing = [...new Map(requirements.map(item => [item.program, item])).values()].filter(item => !isThere(item));
  const needsNpm = !existsSync(join(root, 'node_modules/.package-lock.json'));
  if (needsNpm) {
    log(`installing: npm packages into node_modules, about ${npmPackages.megabytes} MB, ${npmPackages.seconds} s`);
  }
  if (missing.length > 0) {
    const megabytes = missing.reduce((sum, item) => sum + item.megabytes, 0);
    const names = missing.map(item => item.program).join(', ');
    log(`installing: ${names} from the distribution, about ${megabytes} MB, ${20 + Math.ceil(megabytes / 5)} s`);
  }
  if (!needsNpm && missing.length === 0) log('installing: nothing, all is there');
  if (needsNpm)
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci failed; the reason stands above.');
  if (missing.length > 0) installPrograms(missing);
}

function installPrograms(missing) {
  const apt = hasProgram('apt-get');
  const tool = apt ? 'apt-get' : hasProgram('dnf') ? 'dnf' : undefined;
  const packages = missing.flatMap(item => (tool === 'dnf' ? item.dnf : item.apt).split(' '));
  const byHand = apt
    ? `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`
    : `sudo ${tool ?? 'dnf'} install -y ${packages.join(' ')}`;
  if (tool === undefined || (!isRoot && !asRoot('true', [], 'ignore'))) {
    throw new Refusal(`these programs are missing and only root can install them; run:\n  ${byHand}`);
  }
  const ok = apt
    ? asRoot('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages]) ||
      (asRoot('apt-get', ['update', '-qq']) &&
        asRoot('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages]))
    : asRoot('dnf', ['install', '-y', '-q', ...packages]);
  if (!ok) throw new Refusal(`the installation failed; try by hand:\n  ${byHand}`);
}

/** What `python` tests import, from PyPI into a virtual environment of the checkout. */
export function installPython(log) {
  const { names, directory, megabytes, seconds } = pythonPackages;
  const place = join(root, directory);
  const marker = join(place, 'installed');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === names.join()) return;
  log(`installing: ${names.join(', ')} from PyPI into ${directory}, about ${megabytes} MB, ${seconds} s`);
  run('python3', ['-m', 'venv', '--clear', place], 'python3 -m venv failed; the reason stands above.');
  run(
    join(place, 'bin/pip'),
    ['install', '--quiet', '--disable-pip-version-check', ...names],
    `pip install ${names.join(' ')} failed; the reason stands above.`,
  );
  writeFileSync(marker, names.join());
}

/** Conformance suites from crates.io. */
export function installCargo(log) {
  const { names, directory, seconds } = cargoPackages;
  const place = join(root, directory);
  const marker = join(place, 'installed');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === names.join()) return;
  log(`installing: ${names.join(', ')} from crates.io into ${directory}, ${seconds} s`);
  const args = ['install', '--quiet', '--locked', '--root', place, ...names];
  run('cargo', args, `cargo ${args.join(' ')} failed; it may need a newer Rust (rustup.rs).`, {
    env: { ...process.env, PATH: directories.join(delimiter) },
  });
  writeFileSync(marker, names.join());
}

/** The other versions of Node that are supported. Their packages hold the program itself: no install script runs. */
export function installNodes(log) {
  const { versions, directory, megabytes, seconds } = nodeVersions;
  const place = join(root, directory);
  if (versions.every(version => existsSync(join(place, `node_modules/node${version}/bin/node`)))) return;
  log(`installing: Node ${versions.join(' and ')} from npm into ${directory}, about ${megabytes} MB, ${seconds} s`);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'package.json'), '{ "private": true }\n');
  const packages = versions.map(version => `node${version}@npm:node-linux-${process.arch}@${version}`);
  run(
    'npm',
    ['install', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', place, ...packages],
    'npm install of other Node versions failed; the reason stands above.',
  );
}

/** Its library for x64 lies in the package: without its install script no compiler is started. */
export function installFuseNative(log) {
  const { version, directory, megabytes, seconds } = fuseNative;
  const place = join(root, directory);
  if (existsSync(join(place, 'node_modules/fuse-native/package.json'))) return;
  log(`installing: fuse-native ${version} from npm into ${directory}, about ${megabytes} MB, ${seconds} s`);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'package.json'), '{ "private": true }\n');
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', place];
  run('npm', [...args, `fuse-native@${version}`], 'npm install of fuse-native failed; the reason stands above.');
}

/** tap is put together from its plugins once after each installation. */
export function prepareTap() {
  const marker = join(root, 'node_modules/.s3mount-tap');
  const state = createHash('sha256')
    .update(readFileSync(join(root, '.taprc')))
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === state) return;
  run(process.execPath, ['node_modules/tap/dist/esm/run.mjs', 'build'], 'tap could not be prepared.', {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(marker, state);
}

export function buildBundle() {
  run(process.execPath, ['scripts/build.mjs'], 'the build failed; the reason stands above.');
}

/**
 * Lets ordinary users open /dev/fuse, as every distribution does and some containers do not. Returns how to undo it.
 * Throws a Refusal where there is no device at all.
 */
export function openFuseDevice() {
  const device = '/dev/fuse';
  if (!existsSync(device))
    throw new Refusal('there is no /dev/fuse here: nothing can be mounted on this machine or container.');
  const mode = statSync(device).mode & 0o777;
  if ((mode & 0o666) === 0o666) return () => {};
  if (!asRoot('chmod', ['0666', device])) return () => {};
  return () => asRoot('chmod', [mode.toString(8).padStart(4, '0'), device]);
}
