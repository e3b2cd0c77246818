/** Detaches a mount by the system's own programs: for stale mounts, and when our own session no longer works. */
import { spawn } from 'node:child_process';

/**
 * `umount -l` for root, `fusermount3 -uz` for others. Asynchronous on purpose: a thread that waits for it while it serves
 * the mount would wait for itself. Resolves to whether it worked; `limit` in ms.
 */
export async function detachByCommand(mountPoint: string, limit: number): Promise<boolean> {
  const commands: readonly (readonly [string, ...string[]])[] = [
    ...(process.getuid!() === 0 ? [['umount', '-l', mountPoint] as const] : []),
    ['fusermount3', '-u', '-z', mountPoint],
    ['fusermount', '-u', '-z', mountPoint],
  ];
  for (const [program, ...args] of commands) if (await succeeds(program, args, limit)) return true;
  return false;
}

function succeeds(program: string, args: readonly string[], limit: number): Promise<boolean> {
  return new Promise(resolve => {
    const child = spawn(program, args, { stdio: 'ignore', cwd: '/' });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      resolve(false);
    }, limit);
    child.once('error', () => {
      clearTimeout(timer);
      resolve(false);
    });
    child.once('exit', code => {
      clearTimeout(timer);
      resolve(code === 0);
    });
  });
}
