/**
 * A small file per mount that tells the other commands whom to ask: which process serves it, where its control socket is,
 * and how it ended. Root reads those of all users, who may have written anything there: what a file says of a process
 * counts only if that process is its owner's.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSmallFile } from './private-files.ts';
import { ensureStateDirectory } from './state-directory.ts';

/** A path of the mount point, and the sentence with which it ended. */
const MAX_RECORD = 64 * 1024;

export interface RunRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: tells a process from a later one with the same number. */
  readonly startTime: string;
  readonly mountPoint: string;
  /** Set when it ended other than well. */
  readonly ended?: { readonly exitCode: number; readonly message: string };
}

export class RunFile {
  readonly #path: string;
  /** The control socket of this mount. */
  readonly socket: string;

  constructor(stateDirectory: string, mountPoint: string) {
    const name = createHash('sha256').update(mountPoint).digest('hex').slice(0, 16);
    this.#path = join(stateDirectory, 'run', `${name}.json`);
    this.socket = join(stateDirectory, 'run', `${name}.sock`);
  }

  /** The files of all mounts that keep theirs below `stateDirectory`. */
  static allIn(stateDirectory: string): RunFile[] {
    let names: string[];
    try {
      names = readdirSync(join(stateDirectory, 'run')).filter(name => name.endsWith('.json'));
    } catch {
      return [];
    }
    return names.flatMap(name => {
      const mountPoint = parsed(join(stateDirectory, 'run', name))?.mountPoint;
      return mountPoint === undefined ? [] : new RunFile(stateDirectory, mountPoint);
    });
  }

  /** Writes who serves `mountPoint`: this process. */
  static announce(stateDirectory: string, mountPoint: string): RunFile {
    ensureStateDirectory(stateDirectory, 'run');
    const file = new RunFile(stateDirectory, mountPoint);
    file.#write(ownRecord(mountPoint));
    return file;
  }

  /** Undefined where no mount was announced, or by a process that is no more and left no word. */
  read(): RunRecord | undefined {
    const record = parsed(this.#path);
    if (record === undefined) return undefined;
    return record.ended || (isRunning(record) && ownerOf(`/proc/${record.pid}`) === ownerOf(this.#path))
      ? record
      : undefined;
  }

  /** The end was good: nothing is left to say. */
  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /** The end was not good: left for `s3mount umount` to read. */
  ended(mountPoint: string, exitCode: number, message: string): void {
    this.#write({ ...ownRecord(mountPoint), ended: { exitCode, message } });
  }

  #write(record: RunRecord): void {
    // Another one put in its place: never written through a link, and never read half.
    const whole = `${this.#path}.${process.pid}`;
    rmSync(whole, { force: true });
    writeFileSync(whole, JSON.stringify(record), { mode: 0o600, flag: 'wx' });
    renameSync(whole, this.#path);
  }
}

function parsed(path: string): RunRecord | undefined {
  try {
    const record = JSON.parse(readSmallFile(path, MAX_RECORD) ?? 'null') as Partial<RunRecord> | null;
    const { pid, startTime, mountPoint } = record ?? {};
    if (!Number.isInteger(pid) || typeof startTime !== 'string' || typeof mountPoint !== 'string') return undefined;
    return record as RunRecord;
  } catch {
    return undefined;
  }
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined;
  }
}

function ownRecord(mountPoint: string): RunRecord {
  return { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', mountPoint };
}

export function isRunning({ pid, startTime }: RunRecord): boolean {
  return startTimeOf(pid) === startTime;
}

function startTimeOf(pid: number): string | undefined {
  try {
    // The command's name, in parentheses, may hold spaces: fields are counted after it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; in a container nobody may ever collect it.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
