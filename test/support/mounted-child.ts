/** Starts `serve-memory-fs.ts` on a fresh mount point and sees to it that the mount is gone afterwards, whatever happens. */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MountOptions } from '../../src/fuse/ops.ts';
import { HUNG } from './limits.ts';
import type { Command, Message, ServeOptions } from './serve-memory-fs.ts';

export interface MountedChild {
  readonly dir: string;
  readonly pid: number;
  /** Runs a command in the serving process; rejects with its error code as the message. */
  call(command: Command): Promise<unknown>;
  counts(): Promise<Readonly<Record<string, number>>>;
  /** How the session ended, or how the process died. */
  readonly ended: Promise<string>;
  /** The next bug that the binding tells its owner. */
  readonly bug: Promise<string>;
  /** Unmounts if need be. */
  stop(): Promise<void>;
}

export interface ChildOptions {
  readonly binding?: ServeOptions['binding'];
  readonly mount?: Partial<MountOptions>;
  readonly delayed?: boolean;
  readonly ttl?: number;
  /** Serves as this user. */
  readonly uid?: number;
}

/** Where `scripts/requirements.mjs` has fuse-native installed, as a user has it beside the global packages. */
export const FUSE_NATIVE_PATH = fileURLToPath(
  new URL('../../node_modules/.s3mount-fuse-native/node_modules', import.meta.url),
);

const SCRIPT = fileURLToPath(new URL('./serve-memory-fs.ts', import.meta.url));

/** A mount that hangs must not hang the tests: after this many ms the server is killed and the mount detached. */
const WATCHDOG = HUNG * 1000;

function detachQuietly(dir: string): void {
  try {
    // umount(8) touches neither the mount nor its root with -l; this process serves nothing, so it may wait.
    execFileSync('umount', ['-l', dir], { stdio: 'ignore' });
  } catch {
    // Not mounted any more: the usual case.
  }
}

/** Rejects with the `MountError`'s message and `code`, if the mount is refused. */
export async function mountChild(options: ChildOptions = {}): Promise<MountedChild> {
  const dir = mkdtempSync(join(tmpdir(), 's3mount-binding-'));
  const { uid } = options;
  if (uid !== undefined) {
    chownSync(dir, uid, uid);
    chmodSync(dir, 0o755);
  }
  const serve: ServeOptions = {
    binding: options.binding ?? 'dev-fuse',
    delayed: options.delayed ?? false,
    ttl: options.ttl ?? 1000,
    mount: {
      mountPoint: dir,
      fsname: 'memory',
      subtype: 's3mount-test',
      readOnly: false,
      allowOther: false,
      defaultPermissions: true,
      kernelOptions: [],
      posixAcl: false,
      ...options.mount,
    },
  };
  const child: ChildProcess = fork(SCRIPT, [JSON.stringify(serve)], {
    execArgv: ['--import=tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: {
      PATH: process.env['PATH'],
      SERVE_QUIET: '1',
      TMPDIR: tmpdir(),
      TSX_DISABLE_CACHE: '1',
      NODE_PATH: FUSE_NATIVE_PATH,
    },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const clean = (): void => detachQuietly(dir);
  process.once('exit', clean);
  const watchdog = setTimeout(() => {
    child.kill('SIGKILL');
    clean();
  }, WATCHDOG);

  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let next = 1;
  let tellEnded!: (end: string) => void;
  let tellBug!: (message: string) => void;
  const ended = new Promise<string>(resolve => {
    tellEnded = resolve;
  });
  const bug = new Promise<string>(resolve => {
    tellBug = resolve;
  });
  const exited = new Promise<void>(resolve => {
    child.once('exit', (code, signal) => {
      clearTimeout(watchdog);
      tellEnded(`exit ${code ?? signal}`);
      for (const { reject } of waiting.values()) reject(new Error('the serving process has ended'));
      resolve();
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.on('message', (message: Message) => {
      if (message.event === 'mounted') resolve();
      else if (message.event === 'refused') reject(Object.assign(new Error(message.message), { code: message.code }));
      else if (message.event === 'ended') tellEnded(message.end);
      else if (message.event === 'bug') tellBug(message.message);
      else {
        const caller = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.event === 'answer') caller?.resolve(message.value);
        else caller?.reject(new Error(message.code));
      }
    });
    void exited.then(() => reject(new Error('the serving process has ended before it mounted')));
  }).catch(async (error: unknown) => {
    child.kill('SIGKILL');
    await exited;
    clean();
    process.removeListener('exit', clean);
    rmdirSync(dir);
    throw error;
  });

  const call = (command: Command): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const id = next++;
      waiting.set(id, { resolve, reject });
      // Between the end of its mount and its exit the child no longer listens: that is the caller's to know, not a crash.
      child.send({ id, command }, error => {
        if (error !== null) reject(error);
      });
    });
  return {
    dir,
    pid: child.pid!,
    call,
    counts: async () => (await call({ do: 'counts' })) as Readonly<Record<string, number>>,
    ended,
    bug,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        await call({ do: 'unmount', lazy: true }).catch(() => child.kill('SIGKILL'));
        await exited;
      }
      clean();
      process.removeListener('exit', clean);
      rmdirSync(dir);
    },
  };
}
