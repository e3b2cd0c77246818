/** Reads what is mounted where, without touching any of it: a stat of a dead mount may hang for ever. */
import { readFileSync } from 'node:fs';

export interface MountTableEntry {
  readonly mountPoint: string;
  /** Such as `ext4` or `fuse.s3mount`. */
  readonly type: string;
  readonly source: string;
  /** Of a FUSE mount: who mounted it. */
  readonly uid?: number;
}

/** In the order of mounting: of two entries at one place the later covers the earlier. Format: proc(5), mountinfo. */
export function parseMountTable(text: string): MountTableEntry[] {
  const entries: MountTableEntry[] = [];
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ');
    if (after === undefined) continue;
    const mountPoint = before!.split(' ')[4];
    const [type, source, options] = after.split(' ');
    if (mountPoint === undefined || type === undefined || source === undefined) continue;
    const uid = /(?:^|,)user_id=([0-9]+)/.exec(options ?? '')?.[1];
    entries.push({
      mountPoint: unescaped(mountPoint),
      type,
      source: unescaped(source),
      ...(uid === undefined ? {} : { uid: Number(uid) }),
    });
  }
  return entries;
}

/** The topmost mount at exactly `path`, which must be absolute and without symbolic links. */
export function mountAt(
  path: string,
  table = readFileSync('/proc/self/mountinfo', 'utf8'),
): MountTableEntry | undefined {
  return parseMountTable(table).findLast(entry => entry.mountPoint === path);
}

/** The kernel writes space, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
