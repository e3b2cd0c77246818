/**
 * The program as people run it, against the embedded server, for tests on a real mount. The mount is touched by other
 * processes or by promises only: this process serves S3 and must not wait for its own mount.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, realpathSync } from 'node:fs';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { EVENTUALLY, PROGRAM_LIMIT } from './limits.ts';

export const PROGRAM = fileURLToPath(new URL('../../bin/s3mount', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Place {
  readonly server: EmbeddedS3;
  /** An empty directory to mount on. */
  readonly mountPoint: string;
  /** Open to everybody; home and state directory lie in it. */
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  /** The options that lead to the server. */
  readonly options: string;
  /** Runs `s3mount` with `args` to its end; `as` puts a command in front, such as setpriv. */
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Mounts BUCKET in the background; fails the test if that fails. */
  mount(more?: string): Promise<void>;
  /** Starts `s3mount -f`; resolves when the mount answers. */
  mountInForeground(env?: NodeJS.ProcessEnv): Promise<{ child: ChildProcess; ended: Promise<Outcome> }>;
  isMounted(): Promise<boolean>;
  daemonPid(): Promise<number>;
}

export interface RunOptions {
  readonly as?: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Gets what the program writes to stderr, while it runs. */
  readonly said?: (text: string) => void;
}

export const BUCKET = 'works-bucket';

/** A server with an empty bucket, and a mount point; everything is taken down at the end of the test. */
export async function aPlace(t: Test, server: EmbeddedS3Options = {}): Promise<Place> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], ...server });
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 's3mount-cli-')));
  await chmod(directory, 0o777);
  const mountPoint = join(directory, 'works');
  await mkdir(mountPoint);
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    TMPDIR: process.env['TMPDIR'],
    HOME: directory,
    AWS_ACCESS_KEY_ID: s3.credential.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.credential.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  const options = `url=${s3.url},use_path_request_style,region=us-east-1,state_dir=${join(directory, 'state')}`;
  const run: Place['run'] = (args, { as = [], cwd = '/', env = {}, said } = {}) => {
    return output('env', [...withEnvironment({ ...environment, ...env }), ...as, process.execPath, PROGRAM, ...args], {
      cwd,
      ...(said === undefined ? {} : { said }),
    });
  };
  const isMounted = async (): Promise<boolean> => {
    const table = await readFile('/proc/self/mountinfo', 'utf8');
    return table.split('\n').some(line => line.split(' ')[4] === mountPoint);
  };
  t.teardown(async () => {
    for (let left = 3; left > 0 && (await isMounted()); left--) {
      await output('fusermount3', ['-uz', mountPoint], {});
      if (process.getuid!() === 0) await output('umount', ['-l', mountPoint], {});
    }
    await s3.close();
  });
  return {
    server: s3,
    mountPoint,
    directory,
    environment,
    options,
    run,
    isMounted,
    async mount(more = '') {
      const { code, stderr } = await run([BUCKET, mountPoint, '-o', options, ...(more === '' ? [] : ['-o', more])]);
      t.equal(code, 0, `mounted ${stderr}`);
    },
    async mountInForeground(env = {}) {
      const command = [process.execPath, PROGRAM, BUCKET, mountPoint, '-f', '-o', options];
      const child = spawn('env', [...withEnvironment({ ...environment, ...env }), ...command], {
        cwd: '/',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const ended = collected(child);
      await new Promise<void>(resolve => {
        child.stderr!.on('data', (text: string) => {
          if (text.includes('"mounted"')) resolve();
        });
        void ended.then(() => resolve());
      });
      return { child, ended };
    },
    async daemonPid() {
      for (const line of (await output('pgrep', ['-f', `ready-fd=3.* ${mountPoint}$`], {})).stdout.split('\n')) {
        if (line !== '') return Number(line);
      }
      throw new Error('there is no daemon');
    },
  };
}

/** Arguments of env(1). Not by spawn's own `env`: tap adds a NODE_OPTIONS to that, which makes each program load tap. */
function withEnvironment(environment: NodeJS.ProcessEnv): string[] {
  return ['-i', ...Object.entries(environment).map(([name, value]) => `${name}=${value ?? ''}`)];
}

/** Runs a program to its end. */
export function output(
  program: string,
  args: readonly string[],
  { said, ...options }: Omit<RunOptions, 'as'>,
): Promise<Outcome> {
  return new Promise(resolve => {
    const child = execFile(program, args, { timeout: PROGRAM_LIMIT, ...options }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ code, stdout, stderr });
    });
    if (said) child.stderr?.on('data', said);
  });
}

function collected(child: ChildProcess): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', text => (stdout += text));
  child.stderr!.setEncoding('utf8').on('data', text => (stderr += text));
  return new Promise(resolve => void child.once('close', code => resolve({ code, stdout, stderr })));
}

/** What runs a command as somebody who is not root: nobody, if we are root; otherwise ourselves. */
export const AS_ORDINARY_USER: readonly string[] =
  process.getuid!() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];

/** Polls until `what` holds; for what no event tells. */
export async function eventually(t: Test, what: () => Promise<boolean>, name: string): Promise<void> {
  for (const end = Date.now() + EVENTUALLY; ; ) {
    if (await what()) {
      t.pass(name);
      return;
    }
    if (Date.now() > end) break;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  t.fail(name);
}
