/** CPU and memory of a process and its descendants, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux shows times to programs in hundredths of a second, whatever its own tick is. */
const TICKS = 100;

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Fields of /proc/PID/stat after the name, which may hold spaces: the first is the state. */
export function parseStat(line: string): string[] {
  return line.slice(line.lastIndexOf(')') + 2).split(' ');
}

/** `pid` first, then its descendants. */
export function processTree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(parseStat(text(`/proc/${name}/stat`))[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree = [pid];
  for (const one of tree) tree.push(...(children.get(one) ?? []));
  return tree;
}

/** User and system seconds of the tree, what it has waited for included. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const one of processTree(pid)) {
    const fields = parseStat(text(`/proc/${one}/stat`));
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / TICKS;
}

/** Bytes of memory of the tree: resident now (`VmRSS`), or at most so far (`VmHWM`). */
export function memoryBytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  let kibibytes = 0;
  for (const one of processTree(pid)) {
    const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text(`/proc/${one}/status`));
    kibibytes += Number(match?.[1] ?? 0);
  }
  return kibibytes * 1024;
}

/** Seconds that all CPUs of the machine have been busy since its start. */
export function machineSeconds(): number {
  const fields = text('/proc/stat').split('\n', 1)[0]!.trim().split(/\s+/).slice(1).map(Number);
  // user nice system idle iowait irq softirq; what a hypervisor stole is nobody's here.
  return ((fields[0] ?? 0) + (fields[1] ?? 0) + (fields[2] ?? 0) + (fields[5] ?? 0) + (fields[6] ?? 0)) / TICKS;
}
