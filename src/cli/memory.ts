/** How much memory the daemon takes unless `memory=` says so: a part of what the machine or its cgroup allows. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';

const MIB = 1024 * 1024;

/** Below this, two parts of an upload and a read-ahead window do not fit side by side. */
const LEAST = 64 * MIB;
/** Above this, measured speed does not grow on links up to 10 Gbit/s; whoever has more gives `memory=`. */
const MOST = 256 * MIB;

/** Bytes. `readFile` returns undefined for what is not there. */
export function defaultMemory(total = totalmem(), readFile: (path: string) => string | undefined = readText): number {
  return memoryPlan(undefined, total, readFile).budget;
}

export interface MemoryPlan {
  /** What the machine or a cgroup allows us, bytes. */
  readonly limit: number;
  /** For blocks, bytes in flight and unsaved bytes. */
  readonly budget: number;
  /** For names and attributes. */
  readonly metadata: number;
}

/** `asked`: `memory=`, bytes. Metadata never takes more than an eighth of what there is, whatever was asked for bytes. */
export function memoryPlan(
  asked: number | undefined,
  total = totalmem(),
  readFile: (path: string) => string | undefined = readText,
): MemoryPlan {
  const limit = Math.min(total, ...cgroupLimits(readFile));
  const eighth = Math.floor(limit / 8);
  const budget = asked ?? Math.min(MOST, Math.max(LEAST, eighth));
  return { limit, budget, metadata: Math.min(budget, eighth) };
}

/** The limits of our own cgroup and of all above it, version 1 and 2. */
function cgroupLimits(readFile: (path: string) => string | undefined): number[] {
  const limits: number[] = [];
  for (const line of (readFile('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^[0-9]+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const version2 = controllers === '';
    if (!version2 && !controllers.split(',').includes('memory')) continue;
    const top = version2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    const file = version2 ? 'memory.max' : 'memory.limit_in_bytes';
    // In a container the path is the host's and is not there: the walk up ends at the container's own top.
    for (let place = path; ; place = dirname(place)) {
      const bytes = Number(readFile(join(top, place, file))?.trim());
      if (bytes > 0) limits.push(bytes);
      if (place === '/' || place === '.') break;
    }
  }
  return limits;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
