/** What of this machine a mount needs, and what about it makes mounts slow or fragile. */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, join } from 'node:path';
import { EXIT } from './exit-codes.ts';
import { type Finding, finding } from './findings.ts';
import { allowsOthers, FUSE_CONF } from './fuse-conf.ts';
import { defaultMemory } from './memory.ts';
import type { OptionValues } from './option-table.ts';
import { defaultStateDirectory, ensureStateDirectory } from './state-directory.ts';

/** What is looked at; tests bring their own. */
export interface Machine {
  readonly uid: number;
  readonly nodeVersion: string;
  readonly kernel: string;
  readonly path: string;
  /** Undefined where it is not there or may not be read. */
  text(path: string): string | undefined;
  /** Mode and owner; undefined where it is not there. */
  stat(path: string): { readonly mode: number; readonly uid: number } | undefined;
  mayReadAndWrite(path: string): boolean;
  /** Bytes that are free for this user below `path`. */
  free(path: string): number | undefined;
}

export const thisMachine: Machine = {
  uid: process.getuid!(),
  nodeVersion: process.versions.node,
  kernel: release(),
  path: process.env['PATH'] ?? '',
  text(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  stat: path => statSync(path, { throwIfNoEntry: false }),
  mayReadAndWrite(path) {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
  free(path) {
    if (!existsSync(path)) return undefined;
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  },
};

const MIB = 1024 * 1024;
const SETUID = 0o4000;
/** Connections, the files of spool and cache, and the log, with room to spare. */
const LEAST_FILES = 1024;
/** A spool takes what does not fit into memory: below this a large upload may end in ENOSPC. */
const LITTLE_DISK = 1024 * MIB;
/** FUSE since protocol 7.31 has all that is used; older kernels have been tried by nobody. */
const OLDEST_KERNEL = 5;

export function examineMachine(machine: Machine, values: OptionValues): Finding[] {
  return [
    kernel(machine),
    device(machine),
    fusermount(machine),
    ...allowOther(machine, values),
    limits(machine),
    memory(values),
    state(machine, values),
    ...indexer(machine),
  ];
}

function kernel({ kernel: version, nodeVersion }: Machine): Finding {
  const text = `Linux ${version}, Node ${nodeVersion}`;
  if (Number.parseInt(version, 10) >= OLDEST_KERNEL) return finding.ok('system', text);
  return finding.warn('system', text, 'kernels before 5 were not tried; update the system if something fails');
}

function device(machine: Machine): Finding {
  const about = '/dev/fuse';
  const status = machine.stat('/dev/fuse');
  if (!status) {
    const inContainer =
      machine.stat('/.dockerenv') !== undefined || /container=/.test(machine.text('/proc/1/environ') ?? '');
    return finding.fail(
      about,
      'it is not there',
      inContainer
        ? 'give it to the container: --device /dev/fuse --cap-add SYS_ADMIN'
        : 'run: modprobe fuse (as root); some containers and notebooks do not offer it at all',
      EXIT.fuse,
    );
  }
  if (machine.mayReadAndWrite('/dev/fuse')) return finding.ok(about, 'it can be opened');
  return finding.fail(about, 'it may not be opened', 'run: chmod 0666 /dev/fuse (as root)', EXIT.fuse);
}

function fusermount(machine: Machine): Finding {
  const about = 'fusermount3';
  const found = machine.path
    .split(delimiter)
    .map(directory => join(directory, 'fusermount3'))
    .find(path => machine.stat(path) !== undefined);
  const install = 'install fuse3 (apt-get install fuse3, dnf install fuse3)';
  if (machine.uid === 0) {
    if (found) return finding.ok(about, `${found} (root mounts without it)`);
    return finding.warn(about, 'it is not there', `root mounts without it, other users do not: ${install}`);
  }
  if (!found) return finding.fail(about, 'it is not there', install, EXIT.fuse);
  const { mode, uid } = machine.stat(found)!;
  if ((mode & SETUID) === 0 || uid !== 0) {
    return finding.fail(about, `${found} is not setuid root`, `run: chmod u+s ${found} (as root)`, EXIT.fuse);
  }
  if (/^NoNewPrivs:\s*1$/m.test(machine.text('/proc/self/status') ?? '')) {
    return finding.fail(
      about,
      'setuid programs do not work here (no_new_privs)',
      'leave NoNewPrivileges=, or --security-opt no-new-privileges, out of what starts this',
      EXIT.fuse,
    );
  }
  return finding.ok(about, found);
}

function allowOther(machine: Machine, { allow_other: wanted }: OptionValues): Finding[] {
  const about = 'fuse.conf';
  if (machine.uid === 0) return [finding.ok(about, 'root may always give allow_other')];
  if (allowsOthers(machine.text(FUSE_CONF) ?? '')) {
    return [finding.ok(about, 'user_allow_other is there')];
  }
  const advice = 'run: echo user_allow_other | sudo tee -a /etc/fuse.conf';
  if (wanted) return [finding.fail(about, 'allow_other needs user_allow_other in it', advice, EXIT.fuse)];
  return [finding.warn(about, 'without user_allow_other no other user sees the mount', advice)];
}

function limits(machine: Machine): Finding {
  const about = 'limits';
  const files = Number(/^Max open files\s+(\d+)/m.exec(machine.text('/proc/self/limits') ?? '')?.[1] ?? Number.NaN);
  if (Number.isNaN(files)) return finding.ok(about, 'no limit on open files is known');
  if (files >= LEAST_FILES) return finding.ok(about, `${files} open files`);
  return finding.warn(about, `only ${files} open files`, 'raise it: ulimit -n 4096, or LimitNOFILE= in the unit');
}

function memory(values: OptionValues): Finding {
  const bytes = values.memory ?? defaultMemory();
  return finding.ok('memory', `${Math.round(bytes / MIB)} MiB for cached and unsaved bytes`);
}

function state(machine: Machine, values: OptionValues): Finding {
  const about = 'state_dir';
  const path = values.state_dir ?? defaultStateDirectory();
  try {
    ensureStateDirectory(path);
  } catch (error) {
    return finding.fail(about, (error as Error).message.replace(/\.$/, ''), 'mount with another', EXIT.state);
  }
  const free = machine.free(path);
  if (free === undefined || free >= LITTLE_DISK) {
    return finding.ok(about, free === undefined ? path : `${path}, ${(free / 1024 / MIB).toFixed(1)} GiB free`);
  }
  return finding.warn(
    about,
    `${path} has ${Math.round(free / MIB)} MiB free`,
    'large files that are changed in the middle need their size there; give a larger disk as state_dir=',
  );
}

/** A nightly walk over the bucket costs requests: the mount turns it away, but need not be asked at all. */
function indexer(machine: Machine): Finding[] {
  const text = machine.text('/etc/updatedb.conf');
  if (text === undefined) return [];
  const types = /^\s*PRUNEFS\s*=\s*"([^"]*)"/m.exec(text)?.[1] ?? '';
  if (types.split(/\s+/).includes('fuse.s3mount')) return [finding.ok('updatedb', 'it passes over fuse.s3mount')];
  return [
    finding.warn(
      'updatedb',
      'it would walk through the bucket each night',
      'add fuse.s3mount to PRUNEFS in /etc/updatedb.conf',
    ),
  ];
}
