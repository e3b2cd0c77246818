/** Programs that a test runs: without what tap puts into the environment, and with a clear word if one is missing. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';

/** Arguments of env(1). Not by spawn's own `env`: tap adds a NODE_OPTIONS to that, which makes each program load tap. */
export function withEnvironment(environment: NodeJS.ProcessEnv): string[] {
  const given = Object.entries(environment).filter(([, value]) => value !== undefined);
  return ['-i', ...given.map(([name, value]) => `${name}=${value}`)];
}

/** Where the package is not called as its program; `npm test` has the whole list in `scripts/requirements.mjs`. */
const PACKAGES: Readonly<Record<string, string>> = {
  Rscript: 'r-base-core r-cran-data.table',
  'dpkg-deb': 'dpkg',
  monmaptool: 'radosgw ceph-mon ceph-osd ceph-common',
  umount: 'mount',
  fusermount3: 'fuse3',
};

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string | Uint8Array;
  /** Exit codes that are no failure; default 0. */
  readonly codes?: readonly number[];
}

/** What programs in a test may rely on. */
function environment(): NodeJS.ProcessEnv {
  return {
    PATH: `${process.env['PATH']}:/usr/sbin:/sbin`,
    TMPDIR: process.env['TMPDIR'],
    HOME: process.env['TMPDIR'] ?? '/tmp',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
  };
}

/** Runs a program to its end, blocking; its stdout. Throws with all that it said where it failed. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): string {
  return runBytes(program, args, options).toString();
}

export function runBytes(program: string, args: readonly string[], options: RunOptions = {}): Buffer {
  const { cwd, env = {}, input, codes = [0] } = options;
  const result: SpawnSyncReturns<Buffer> = spawnSync(
    'env',
    [...withEnvironment({ ...environment(), ...env }), program, ...args],
    { maxBuffer: 1 << 30, ...(cwd === undefined ? {} : { cwd }), ...(input === undefined ? {} : { input }) },
  );
  if (result.error) throw result.error;
  // env(1) says so where there is no such program.
  if (result.status === 127) {
    throw new Error(
      `'${program}' is missing: npm test installs it, or: sudo apt-get install ${PACKAGES[program] ?? program}`,
    );
  }
  if (!codes.includes(result.status ?? -1)) {
    const said = `${result.stdout}${result.stderr}`.slice(-4000);
    throw new Error(`${program} ${args.join(' ').slice(0, 300)}: exit ${result.status ?? result.signal}\n${said}`);
  }
  return result.stdout;
}

/** Runs a script in the shell, stopping at the first command that fails. */
export function shell(script: string, options: RunOptions & { readonly args?: readonly string[] } = {}): string {
  return run('bash', ['-euo', 'pipefail', '-c', script, 'test', ...(options.args ?? [])], options);
}
