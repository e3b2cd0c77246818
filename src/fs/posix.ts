/**
 * POSIX attributes as they are stored in an object's user metadata: read from every writer that is known, written as s3fs
 * or as the AWS family (S3 Files, FSx, DataSync) does it.
 *
 * Difficulties: (1) `mtime` is written by s3fs as `sec` or `sec.nnnnnnnnn` and by rclone as a float: both read as a decimal
 * fraction, never through a double. (2) s3fs reads numbers in any base. (3) A mode may come with or without its type bits.
 * (4) What others stored beside it must survive our writes; families that an object already has are kept up to date, or
 * their readers would see old times.
 */
import type { Timestamp } from '../fuse/ops.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from './modes.ts';

/** What metadata says; an absent field is not said. `mode` has type bits only where the metadata has. */
export interface StoredPosix {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly rdev?: number;
  readonly atime?: Timestamp;
  readonly mtime?: Timestamp;
  readonly ctime?: Timestamp;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
  /** geesefs keeps a link's target here instead of in the body. */
  readonly symlinkTarget?: string;
}

/** What is to be written: everything. */
export interface FullPosix {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly atime: Timestamp;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

export type MetadataStyle = 's3fs' | 'aws' | 'both' | 'none';

/** No object above this size can be a link (PATH_MAX counts a NUL), none but an empty one a directory or device: bytes. */
export const MAX_LINK = 4095;

type Metadata = Readonly<Record<string, string>>;

/** Largest second that st_mtime can carry to a program that has 64-bit times and prints years of four digits. */
const MAX_SECOND = 253_402_300_799;

/** As strtoll(…, 0) reads it: 0x hexadecimal, leading 0 octal, else decimal. */
function parseNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const trimmed = text.trim();
  let value: number;
  if (/^0[xX][0-9a-fA-F]{1,12}$/.test(trimmed)) value = Number.parseInt(trimmed, 16);
  else if (/^0[0-7]{1,14}$/.test(trimmed)) value = Number.parseInt(trimmed, 8);
  else if (/^\d{1,14}$/.test(trimmed)) value = Number(trimmed);
  else return undefined;
  return value;
}

function parseOctal(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-7]{1,11}$/.test(text.trim())) return undefined;
  return Number.parseInt(text.trim(), 8);
}

/** As `parseNumber`; six octal digits with a file type are more than any decimal mode: so rclone -M writes them. */
function parseMode(text: string | undefined): number | undefined {
  return text !== undefined && /^1[0-7]{5}$/.test(text.trim()) ? parseOctal(text) : parseNumber(text);
}

/** An id fits 32 bits; 2^32 - 1 means "no change" to chown(2) and is nobody's. */
function asId(value: number | undefined): number | undefined {
  return value !== undefined && value < 0xffffffff ? value : undefined;
}

/** `sec`, `sec.fraction` of any length, negative too: exact to the nanosecond. */
export function parseTime(text: string | undefined): Timestamp | undefined {
  if (text === undefined) return undefined;
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text.trim());
  if (!match) return undefined;
  const nsec = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  const sec = Number(match[2]);
  if (sec > MAX_SECOND) return undefined;
  if (match[1] === '') return { sec, nsec };
  return nsec === 0 ? { sec: -sec, nsec: 0 } : { sec: -sec - 1, nsec: 1_000_000_000 - nsec };
}

/** The AWS family's `<nanoseconds>ns`, or milliseconds without `ns`. */
function parseAwsTime(text: string | undefined): Timestamp | undefined {
  const match = text === undefined ? null : /^(-?\d{1,22})(ns)?$/.exec(text.trim());
  if (!match) return undefined;
  const total = BigInt(match[1]!) * (match[2] ? 1n : 1_000_000n);
  const nsec = ((total % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const sec = Number((total - nsec) / 1_000_000_000n);
  return sec > MAX_SECOND ? undefined : { sec, nsec: Number(nsec) };
}

export function formatTime(time: Timestamp): string {
  if (time.sec >= 0) return `${time.sec}.${String(time.nsec).padStart(9, '0')}`;
  // The fraction counts from the whole second towards zero, so that a decimal reader finds the same moment.
  if (time.nsec === 0) return `${time.sec}.000000000`;
  const whole = -(time.sec + 1);
  return `-${whole}.${String(1_000_000_000 - time.nsec).padStart(9, '0')}`;
}

function formatAwsTime(time: Timestamp): string {
  return `${BigInt(time.sec) * 1_000_000_000n + BigInt(time.nsec)}ns`;
}

/** `ms` since the epoch. */
export function timestampOf(ms: number): Timestamp {
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: Math.round((ms - sec * 1000) * 1e6) % 1_000_000_000 };
}

export function compareTimes(a: Timestamp, b: Timestamp): number {
  return a.sec - b.sec || a.nsec - b.nsec;
}

/** s3fs's `xattr` header: URL-encoded JSON of name → base64. Undefined where it is no such thing. */
export function decodeXattrs(text: string | undefined): ReadonlyMap<string, Uint8Array> | undefined {
  if (text === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(decodeURIComponent(text));
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
    const xattrs = new Map<string, Uint8Array>();
    for (const [name, value] of Object.entries(parsed)) {
      if (typeof value === 'string') xattrs.set(name, Buffer.from(value, 'base64'));
    }
    return xattrs;
  } catch {
    return undefined;
  }
}

export function encodeXattrs(xattrs: ReadonlyMap<string, Uint8Array>): string {
  const plain: Record<string, string> = {};
  for (const [name, value] of xattrs) plain[name] = Buffer.from(value).toString('base64');
  return encodeURIComponent(JSON.stringify(plain));
}

/** Reads whatever POSIX metadata there is. The families in order: s3fs (and geesefs, rclone), AWS, s3sync, GCS. */
export function decodePosix(metadata: Metadata): StoredPosix {
  const mode =
    parseMode(metadata['mode']) ??
    parseOctal(metadata['file-permissions']) ??
    parseNumber(metadata['permissions']) ??
    parseOctal(metadata['goog-reserved-posix-mode']);
  const uid = asId(
    parseNumber(metadata['uid']) ??
      parseNumber(metadata['file-owner']) ??
      parseNumber(metadata['owner']) ??
      parseNumber(metadata['goog-reserved-posix-uid']),
  );
  const gid = asId(
    parseNumber(metadata['gid']) ??
      parseNumber(metadata['file-group']) ??
      parseNumber(metadata['group']) ??
      parseNumber(metadata['goog-reserved-posix-gid']),
  );
  const mtime =
    parseTime(metadata['mtime']) ??
    parseAwsTime(metadata['file-mtime']) ??
    parseTime(metadata['goog-reserved-file-mtime']);
  const atime = parseTime(metadata['atime']) ?? parseAwsTime(metadata['file-atime']);
  const ctime = parseTime(metadata['ctime']);
  const rdev = parseNumber(metadata['rdev']);
  const xattrs = decodeXattrs(metadata['xattr']);
  const symlinkTarget = metadata['--symlink-target'];
  return {
    ...(mode !== undefined && mode <= 0o177777 && { mode }),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(rdev !== undefined && rdev <= 0xffffffff && { rdev }),
    ...(atime && { atime }),
    ...(mtime && { mtime }),
    ...(ctime && { ctime }),
    ...(xattrs && { xattrs }),
    ...(symlinkTarget !== undefined && { symlinkTarget: decodeTarget(symlinkTarget) }),
  };
}

function decodeTarget(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** How each header of a family says it. A family is written in full where the style asks for it. */
type Family = Readonly<Record<string, (posix: FullPosix) => string>>;

const S3FS_FAMILY: Family = {
  mode: posix => String(posix.mode),
  uid: posix => String(posix.uid),
  gid: posix => String(posix.gid),
  mtime: posix => formatTime(posix.mtime),
  ctime: posix => formatTime(posix.ctime),
  atime: posix => formatTime(posix.atime),
};

const AWS_FAMILY: Family = {
  'file-permissions': posix => `0${posix.mode.toString(8)}`,
  'file-owner': posix => String(posix.uid),
  'file-group': posix => String(posix.gid),
  'file-mtime': posix => formatAwsTime(posix.mtime),
  'file-atime': posix => formatAwsTime(posix.atime),
};

/** Never begun by us, only kept right. gsutil has permissions in octal and times in whole seconds. */
const GCS_FAMILY: Family = {
  'goog-reserved-posix-mode': posix => (posix.mode & ~S_IFMT).toString(8),
  'goog-reserved-posix-uid': posix => String(posix.uid),
  'goog-reserved-posix-gid': posix => String(posix.gid),
  'goog-reserved-file-mtime': posix => String(posix.mtime.sec),
  'goog-reserved-file-atime': posix => String(posix.atime.sec),
};

/** The same of s3sync. Its names are anybody's: they are its own where all three are there and are numbers. */
const S3SYNC_FAMILY: Family = {
  permissions: posix => String(posix.mode & ~S_IFMT),
  owner: posix => String(posix.uid),
  group: posix => String(posix.gid),
};

/** Sets the headers of a family: all of them, or those that are there and hold a number (a stranger's `mode: fast` stays). */
function update(result: Record<string, string>, family: Family, posix: FullPosix, all: boolean): void {
  for (const [name, format] of Object.entries(family)) {
    if (all || /^-?\d/.test(result[name] ?? '')) result[name] = format(posix);
  }
}

/**
 * User metadata for a write: what others keep there (`existing`) with ours brought up to date. Headers of any family that
 * the object already has are updated whatever the style, or their readers, and we, would go on to believe the old ones.
 */
export function encodePosix(posix: FullPosix, style: MetadataStyle, existing: Metadata = {}): Record<string, string> {
  const result: Record<string, string> = { ...existing };
  update(result, S3FS_FAMILY, posix, style === 's3fs' || style === 'both' || parseMode(existing['mode']) !== undefined);
  if (posix.rdev !== 0 && 'mode' in result) result['rdev'] = String(posix.rdev);
  update(
    result,
    AWS_FAMILY,
    posix,
    style === 'aws' || style === 'both' || parseOctal(existing['file-permissions']) !== undefined,
  );
  update(result, GCS_FAMILY, posix, false);
  if (Object.keys(S3SYNC_FAMILY).every(name => parseNumber(existing[name]) !== undefined)) {
    update(result, S3SYNC_FAMILY, posix, false);
  }
  if (posix.xattrs.size > 0) result['xattr'] = encodeXattrs(posix.xattrs);
  else delete result['xattr'];
  return result;
}

/**
 * User metadata without what others computed from the bytes that are being replaced: with the old sum rclone and s3cmd would
 * call the new content corrupt. (Both keep it for objects in parts, whose ETag is no MD5.)
 */
export function withoutChecksums(metadata: Metadata): Record<string, string> {
  const { md5chksum: _, ...rest }: Record<string, string> = metadata;
  const s3cmd = rest['s3cmd-attrs'];
  if (s3cmd !== undefined) {
    rest['s3cmd-attrs'] = s3cmd
      .split('/')
      .filter(attribute => !attribute.startsWith('md5:'))
      .join('/');
  }
  return rest;
}

/** User metadata with the time of the last change added, where it has none: S3 would show the time of a copy instead. */
export function withMtime(metadata: Metadata, mtime: Timestamp, style: MetadataStyle): Metadata {
  if (style === 'none' || decodePosix(metadata).mtime) return metadata;
  return {
    ...metadata,
    ...(style !== 'aws' && { mtime: formatTime(mtime) }),
    ...(style !== 's3fs' && { 'file-mtime': formatAwsTime(mtime) }),
  };
}

/** Bytes that S3 counts against its 2 KB: names and values of user metadata. */
export function metadataBytes(metadata: Metadata): number {
  let bytes = 0;
  for (const [name, value] of Object.entries(metadata)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}

/** Content types by which other tools say "this object is a directory" (S3 console and s3fs; Nextcloud). */
const DIRECTORY_TYPES: ReadonlySet<string> = new Set(['application/x-directory', 'httpd/unix-directory']);

/**
 * The type bits of an object whose key does not end in `/`. Only a small object can be a link (4,095 bytes at most), only
 * an empty one a directory, fifo, socket or device: a stored mode that contradicts the size is not believed.
 */
export function objectType(posix: StoredPosix, contentType: string | undefined, size: number): number {
  if (posix.symlinkTarget !== undefined) return S_IFLNK;
  const type = (posix.mode ?? 0) & S_IFMT;
  if (type === S_IFLNK && size > 0 && size <= MAX_LINK) return S_IFLNK;
  if (size > 0) return S_IFREG;
  if (type !== 0 && type !== S_IFLNK) return type;
  return contentType !== undefined && DIRECTORY_TYPES.has(contentType.split(';')[0]!.trim()) ? S_IFDIR : S_IFREG;
}
