/**
 * Whether a mount point is free, served, or left behind by a daemon that was killed, and how to clean up the last.
 *
 * A mount that does not answer blocks whoever touches it, for ever: so another process touches it, with a time limit.
 */
import { spawn } from 'node:child_process';
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { findMount, type MountTableEntry } from './mount-table.ts';

/**
 * - `none`: nothing is mounted exactly there.
 * - `awaited`: an automount (autofs) waits there to be covered. Whoever opens it, or asks for more than its attributes, starts
 *   the mount that we are, and waits for it.
 * - `alive`: what is mounted there answers.
 * - `dead`: its daemon is gone ("Transport endpoint is not connected").
 * - `silent`: it gave no answer within the time limit.
 */
export type MountState =
  | { readonly state: 'none' }
  | { readonly state: 'awaited' | 'alive' | 'dead' | 'silent'; readonly mount: MountTableEntry };

/** A daemon on a busy machine answers a stat of its root in ms; S3 has no part in it. */
const ANSWER_LIMIT = 2000;

/** Dead mounts may lie on top of each other; more than these were not made by restarts. */
const MOST_STACKED = 16;

/** Commands are looked for here and not in the caller's environment, which a root daemon must not trust. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/wrappers/bin';

export interface CommandResult {
  /** Exit code; `undefined` if the program was not found, or was stopped after the limit. */
  readonly code: number | undefined;
  readonly found: boolean;
  readonly stderr: string;
}

/** Runs a program to its end without a shell. Never rejects. `limit` in ms; `extra` becomes its descriptor 3. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: { readonly limit?: number; readonly extra?: number; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<CommandResult> {
  return new Promise(settle => {
    const child = spawn(program, args, {
      cwd: '/',
      env: { PATH, LC_ALL: 'C', ...options.env },
      stdio: ['ignore', 'ignore', 'pipe', ...(options.extra === undefined ? [] : [options.extra])],
    });
    let stderr = '';
    let timer: NodeJS.Timeout | undefined;
    const finish = (code: number | undefined, found: boolean): void => {
      clearTimeout(timer);
      settle({ code, found, stderr: stderr.trim() });
    };
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', () => finish(undefined, false));
    child.on('close', code => finish(code ?? undefined, true));
    if (options.limit !== undefined) {
      timer = setTimeout(() => {
        // It may hang inside the kernel, where no signal reaches it: leave it behind.
        child.kill('SIGKILL');
        child.stderr?.destroy();
        child.unref();
        finish(undefined, true);
      }, options.limit);
    }
  });
}

/**
 * `path` without symbolic links. What is mounted at `path` is not touched, as a dead mount would make that fail and a
 * silent one would make it hang: only its parent directories are. Rejects as realpath(3) does.
 */
export async function mountPointPath(path: string): Promise<string> {
  const plain = resolve(path);
  const parent = dirname(plain);
  const literal = parent === plain ? plain : join(await realpath(parent), basename(plain));
  if (await findMount(literal)) return literal;
  return realpath(plain);
}

/** How it stands with the mount at `path`, absolute. Rejects with the error of realpath(3) if there is no such path. */
export async function mountStateOf(path: string, options: { readonly limit?: number } = {}): Promise<MountState> {
  const mount = await findMount(await mountPointPath(path));
  if (mount === undefined) return { state: 'none' };
  if (mount.type === 'autofs') return { state: 'awaited', mount };
  const limit = options.limit ?? ANSWER_LIMIT;
  // statfs(2): attributes the kernel would still have for a while after the daemon's death.
  const { code, found, stderr } = await runCommand('stat', ['-f', '--', mount.mountPoint], { limit });
  if (!found) throw new Error("the command 'stat' is not installed; it belongs to coreutils");
  // Permission denied is an answer too: a mount without allow_other refuses even root.
  if (code !== undefined) return { state: /not connected/i.test(stderr) ? 'dead' : 'alive', mount };
  return { state: 'silent', mount };
}

/**
 * Detaches dead mounts at `path` that are FUSE mounts (of `subtype`, if given), and no others. Returns whether there was
 * one. Rejects if it could not be detached, with what the command said.
 */
export async function cleanStaleMount(path: string, subtype?: string): Promise<boolean> {
  for (let cleaned = 0; cleaned < MOST_STACKED; cleaned++) {
    const state = await mountStateOf(path);
    if (state.state !== 'dead') return cleaned > 0;
    const { type, mountPoint } = state.mount;
    if (subtype === undefined ? !/^fuse(\.|$)/.test(type) : type !== `fuse.${subtype}`) return cleaned > 0;
    const result = await detach(mountPoint, { lazy: true });
    if (result.code !== 0) throw new Error(`the dead mount at ${mountPoint} could not be detached: ${result.stderr}`);
  }
  return true;
}

/** Unmounts by another process: one of our own threads might wait for an answer that only we can give. */
export async function detach(mountPoint: string, options: { readonly lazy: boolean }): Promise<CommandResult> {
  if (process.getuid?.() === 0) {
    return runCommand('umount', options.lazy ? ['-i', '-l', mountPoint] : ['-i', mountPoint]);
  }
  return runFusermount([options.lazy ? '-uz' : '-u', '--', mountPoint]);
}

/** fusermount3, or the fusermount of FUSE 2, which does the same. */
export async function runFusermount(
  args: readonly string[],
  options: Parameters<typeof runCommand>[2] = {},
): Promise<CommandResult> {
  const result = await runCommand('fusermount3', args, options);
  return result.found ? result : runCommand('fusermount', args, options);
}
