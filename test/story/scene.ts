/** Who takes part in the story: users with their homes, a laptop, the bucket as others see it, servers that they start. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parseMountTable } from '../../src/fuse/mount-table.ts';
import { SEOUL, seoulAccess } from '../support/inside-aws.ts';
import { START_LIMIT } from '../support/limits.ts';
import { eventually } from '../support/mount.ts';
import { type RunOptions, run, withEnvironment } from '../support/processes.ts';
import { EmbeddedControl } from '../support/s3-child.ts';
import { ForeignClient, type S3Access } from '../support/s3-client.ts';
import { USERS } from './users.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = file('../../bin/s3mount');
export const PYTHON = file('../../node_modules/.s3mount-python/bin/python');

/** One who runs programs: a user of the machine, or somebody at a laptop. */
export class Person {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  readonly #as: readonly string[];

  constructor(home: string, uid: number, env: NodeJS.ProcessEnv) {
    this.home = home;
    this.#as = uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
    this.env = { TMPDIR: join(home, 'tmp'), LANG: 'C.UTF-8', TZ: 'UTC', ...env, HOME: home };
    mkdirSync(join(home, 'tmp'));
    chownSync(home, uid, uid);
    chownSync(join(home, 'tmp'), uid, uid);
  }

  /** Runs a program to its end; its stdout. Throws with what it said where it failed. */
  run(program: string, args: readonly string[] = [], options: RunOptions = {}): string {
    const [first, ...rest] = [...this.#as, program, ...args];
    return run(first!, rest, { cwd: this.home, ...options, env: { ...this.env, ...options.env } });
  }

  shell(script: string, ...args: string[]): string {
    return this.run('bash', ['--norc', '-euo', 'pipefail', '-c', script, 'shell', ...args]);
  }

  python(script: string, ...args: string[]): string {
    return this.run(PYTHON, ['-c', script, ...args]);
  }

  /** Starts a program that stays, ended with `t`; what it says goes to `output`. */
  start(t: Test, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const output = join(this.home, 'tmp', `output-${Math.random()}`);
    const descriptor = openSync(output, 'w');
    const child = spawn('env', [...withEnvironment({ ...this.env, ...env }), ...this.#as, program, ...args], {
      cwd: this.home,
      stdio: ['ignore', descriptor, descriptor],
    });
    closeSync(descriptor);
    const running = new Running(child, output);
    t.teardown(() => running.end());
    return running;
  }
}

export class Running {
  readonly #child: ChildProcess;
  readonly #output: string;

  constructor(child: ChildProcess, output: string) {
    this.#child = child;
    this.#output = output;
  }

  said(): string {
    return readFileSync(this.#output, 'utf8');
  }

  /** Waits until it has said that. Throws with what it said instead. */
  async says(what: RegExp, limit = START_LIMIT): Promise<RegExpExecArray> {
    const ended = () => this.#child.exitCode !== null;
    if (!(await eventually(() => what.test(this.said()) || ended(), limit)) || !what.test(this.said())) {
      throw new Error(`it did not say ${what} (exit ${this.#child.exitCode}), but:\n${this.said().slice(-4000)}`);
    }
    return what.exec(this.said())!;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    await ended;
  }
}

/** Counts by operation, as the server has them. */
export type Requests = Readonly<Record<string, number>>;

export const total = (requests: Requests): number => Object.values(requests).reduce((sum, each) => sum + each, 0);

export class Scene {
  readonly access: S3Access = seoulAccess();
  readonly client = new ForeignClient(this.access, SEOUL);
  readonly s3 = new EmbeddedControl(this.access);
  readonly rstudio: Person;
  readonly shiny: Person;
  readonly root: Person;
  /** Somebody elsewhere with the AWS CLI, configured by `aws configure`. */
  readonly laptop: Person;
  readonly works: string;

  /** `program` is the program as it lies in everybody's PATH. */
  constructor() {
    const homes = dirname(homeOf('rstudio'));
    const bin = join(homes, 'bin');
    mkdirSync(bin);
    symlinkSync(PROGRAM, join(bin, 's3mount'));
    const env = {
      PATH: `${bin}:${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
      AWS_CA_BUNDLE: this.access.caFile,
    };
    const [rstudio, shiny] = USERS.map(
      ({ name, uid }) => new Person(homeOf(name), uid, { ...env, USER: name, LOGNAME: name }),
    );
    this.rstudio = rstudio!;
    this.shiny = shiny!;
    this.works = join(this.rstudio.home, 'works');
    for (const name of ['root', 'laptop']) mkdirSync(join(homes, name));
    this.root = new Person(join(homes, 'root'), 0, env);
    this.laptop = new Person(join(homes, 'laptop'), 0, env);
    const { accessKeyId, secretAccessKey, region } = this.access;
    mkdirSync(join(this.laptop.home, '.aws'));
    writeFileSync(join(this.laptop.home, '.aws/config'), `[default]\nregion = ${region}\n`);
    writeFileSync(
      join(this.laptop.home, '.aws/credentials'),
      `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`,
    );
    const passwd = join(this.rstudio.home, '.passwd-s3fs');
    writeFileSync(passwd, `${accessKeyId}:${secretAccessKey}\n`, { mode: 0o600 });
    chownSync(passwd, USERS[0].uid, USERS[0].uid);
  }

  /** All that was made in them, by whomever. */
  removeHomes(): void {
    const homes = dirname(this.rstudio.home);
    for (const name of readdirSync(homes)) rmSync(join(homes, name), { recursive: true, force: true });
  }

  /** A path in the mount. */
  path(...names: string[]): string {
    return join(this.works, ...names);
  }

  isMounted(): boolean {
    return parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8')).some(one => one.mountPoint === this.works);
  }

  aws(...args: string[]): string {
    return this.laptop.run('aws', args);
  }

  /** All that the daemon has logged. */
  log(): string {
    const directory = join(this.rstudio.home, '.local/state/s3mount/log');
    return readdirSync(directory)
      .map(name => readFileSync(join(directory, name), 'utf8'))
      .join('');
  }
}

function homeOf(user: string): string {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(each => each.startsWith(`${user}:`));
  return line!.split(':')[5]!;
}
