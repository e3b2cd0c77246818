/** What is mounted where, by /proc/self/mountinfo: never by touching the mount itself. */
import { readFile } from 'node:fs/promises';

export interface MountTableEntry {
  readonly id: number;
  /** `MAJOR:MINOR` of its backing device. */
  readonly device: string;
  readonly mountPoint: string;
  /** Such as `fuse.s3mount`. */
  readonly type: string;
  readonly source: string;
}

/** Space, tab, newline and backslash stand as three octal digits. */
function unescaped(field: string): string {
  if (!field.includes('\\')) return field;
  const bytes = Buffer.from(field, 'utf8').toString('latin1');
  const plain = bytes.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(plain, 'latin1').toString('utf8');
}

/** All mounts, in the order of the table: of two on one mount point the later covers the earlier. */
export function parseMountTable(text: string): MountTableEntry[] {
  const entries: MountTableEntry[] = [];
  for (const line of text.split('\n')) {
    // id parent major:minor root mountpoint options [optional fields] - type source superoptions
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [id, , device, , mountPoint] = fields;
    const type = fields[dash + 1];
    const source = fields[dash + 2];
    if (dash < 0 || !id || !device || !mountPoint || type === undefined || source === undefined) continue;
    entries.push({
      id: Number(id),
      device,
      mountPoint: unescaped(mountPoint),
      type: unescaped(type),
      source: unescaped(source),
    });
  }
  return entries;
}

/** The mount that covers exactly `mountPoint`, a path without symbolic links. */
export async function findMount(mountPoint: string): Promise<MountTableEntry | undefined> {
  const table = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
  return table.findLast(entry => entry.mountPoint === mountPoint);
}
