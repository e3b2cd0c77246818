/** Finds who keeps a mount busy: reads only links of /proc, so it never asks the mount itself. */
import { readdir, readFile, readlink } from 'node:fs/promises';

export interface Holder {
  readonly pid: number;
  /** The command's name, such as `bash`. */
  readonly command: string;
  /** How it holds the mount. */
  readonly how: 'stands in it' | 'has files open in it';
}

/** Processes of which we may read the links: all for root, one's own for others. Best effort, never throws. */
export async function findHolders(mountPoint: string, proc = '/proc'): Promise<Holder[]> {
  const names = await readdir(proc).catch(() => []);
  const pids = names.filter(name => /^[0-9]+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(pids.map(pid => holderOf(proc, Number(pid), mountPoint)));
  return found.filter(holder => holder !== undefined);
}

async function holderOf(proc: string, pid: number, mountPoint: string): Promise<Holder | undefined> {
  const inside = async (link: string): Promise<boolean> => {
    const target = await readlink(`${proc}/${pid}/${link}`).catch(() => '');
    return target === mountPoint || target.startsWith(`${mountPoint}/`);
  };
  let how: Holder['how'] | undefined;
  if ((await inside('cwd')) || (await inside('root'))) how = 'stands in it';
  if (how === undefined) {
    for (const descriptor of await readdir(`${proc}/${pid}/fd`).catch(() => [])) {
      if (!(await inside(`fd/${descriptor}`))) continue;
      how = 'has files open in it';
      break;
    }
  }
  if (how === undefined) return undefined;
  const command = await readFile(`${proc}/${pid}/comm`, 'utf8').catch(() => '?');
  return { pid, command: command.trim(), how };
}

/** `bash (4711) stands in it, less (4712) has files open in it`. */
export function holdersText(holders: readonly Holder[]): string {
  if (holders.length === 0) return 'a process that is not ours to see holds it';
  const shown = holders.slice(0, 5).map(({ pid, command, how }) => `${command} (${pid}) ${how}`);
  const more = holders.length > shown.length ? ` and ${holders.length - shown.length} more` : '';
  return shown.join(', ') + more;
}
