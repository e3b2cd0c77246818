/** A small file per mount that tells `s3mount umount` whom to ask: which process serves it, and how it ended. */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureStateDirectory } from './state-directory.ts';

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

  constructor(stateDirectory: string, mountPoint: string) {
    const name = createHash('sha256').update(mountPoint).digest('hex').slice(0, 16);
    this.#path = join(stateDirectory, 'run', `${name}.json`);
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
    let record: RunRecord;
    try {
      record = JSON.parse(readFileSync(this.#path, 'utf8')) as RunRecord;
    } catch {
      return undefined;
    }
    return record.ended || isRunning(record) ? record : undefined;
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
    writeFileSync(this.#path, JSON.stringify(record), { mode: 0o600 });
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
