/**
 * Writes answers in the kernel's layout. Pure: each method fills a buffer and returns the length of the message in bytes;
 * `device.ts` sends it.
 */
import { Buffer } from 'node:buffer';
import type {
  Attributes,
  AttributesReply,
  DirectoryEntry,
  DirectorySink,
  Entry,
  OpenReply,
  StatfsReply,
} from './ops.ts';
import {
  ATTR_OUT_SIZE,
  DIRENT_SIZE,
  ENTRY_OUT_SIZE,
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  NOTIFY_INVAL_ENTRY,
  NOTIFY_INVAL_INODE,
  NOTIFY_PRUNE,
  OPEN_OUT_SIZE,
  OUT_HEADER_SIZE,
} from './protocol.ts';

const WORD = 0x1_0000_0000;

/** Sixty-eight years in ms: longer than any mount, and its seconds fit every field on the way. */
const LONGEST_TTL = 2 ** 31 * 1000;

/** A request is answered by its `unique`, kept as the two words that it came in. */
export interface Unique {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

/** The same memory as words of 32 and 64 bits; every field of the protocol is aligned to its size. */
interface Memory {
  readonly words: Uint32Array;
  readonly wide: BigUint64Array;
}

function put64(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / WORD);
}

function wholeSeconds(ttl: number): number {
  return ttl > 0 ? Math.floor(Math.min(ttl, LONGEST_TTL) / 1000) : 0;
}

function restNanoseconds(ttl: number): number {
  return ttl > 0 && ttl < LONGEST_TTL ? Math.floor((ttl % 1000) * 1e6) : 0;
}

/** `fuse_attr` at word `at`. */
function putAttributes(memory: Memory, at: number, attributes: Attributes): void {
  const { words } = memory;
  const { atime, mtime, ctime } = attributes;
  memory.wide[at >> 1] = attributes.ino;
  put64(words, at + 2, attributes.size);
  put64(words, at + 4, attributes.blocks);
  put64(words, at + 6, atime.sec);
  put64(words, at + 8, mtime.sec);
  put64(words, at + 10, ctime.sec);
  words[at + 12] = atime.nsec;
  words[at + 13] = mtime.nsec;
  words[at + 14] = ctime.nsec;
  words[at + 15] = attributes.mode;
  words[at + 16] = attributes.nlink;
  words[at + 17] = attributes.uid;
  words[at + 18] = attributes.gid;
  words[at + 19] = attributes.rdev;
  words[at + 20] = attributes.blksize;
  words[at + 21] = 0;
}

/** `fuse_entry_out` at word `at`. Our nodeids are never reused, so their generation is always 0. */
function putEntry(memory: Memory, at: number, entry: Entry): void {
  const { words } = memory;
  put64(words, at, entry.nodeid);
  words[at + 2] = 0;
  words[at + 3] = 0;
  put64(words, at + 4, wholeSeconds(entry.entryTtl));
  put64(words, at + 6, wholeSeconds(entry.attributesTtl));
  words[at + 8] = restNanoseconds(entry.entryTtl);
  words[at + 9] = restNanoseconds(entry.attributesTtl);
  putAttributes(memory, at + 10, entry.attributes);
}

function putOpen(words: Uint32Array, at: number, open: OpenReply): void {
  put64(words, at, open.fh);
  words[at + 2] =
    (open.keepCache ? FOPEN_KEEP_CACHE : 0) |
    (open.directIo ? FOPEN_DIRECT_IO : 0) |
    (open.noFlush ? FOPEN_NOFLUSH : 0) |
    (open.cacheDirectory ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : 0);
  words[at + 3] = 0;
}

const FIRST = OUT_HEADER_SIZE >> 2;

/** One answer at a time, in a buffer that is written to the device before the next is begun. */
export class ReplyWriter implements Memory {
  readonly memory: ArrayBuffer;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly wide: BigUint64Array;

  /** `capacity` in bytes, a multiple of 8. */
  constructor(capacity: number) {
    this.memory = new ArrayBuffer(capacity);
    this.bytes = Buffer.from(this.memory);
    this.words = new Uint32Array(this.memory);
    this.wide = new BigUint64Array(this.memory);
  }

  /** The header alone, for a message whose other `payload` bytes follow from elsewhere. Returns its own 16 bytes. */
  header(to: Unique, payload: number): number {
    const { words } = this;
    words[0] = OUT_HEADER_SIZE + payload;
    words[1] = 0;
    words[2] = to.uniqueLow;
    words[3] = to.uniqueHigh;
    return OUT_HEADER_SIZE;
  }

  #whole(to: Unique, payload: number): number {
    return this.header(to, payload) + payload;
  }

  empty(to: Unique): number {
    return this.#whole(to, 0);
  }

  /** `errno` as a positive number. */
  error(to: Unique, errno: number): number {
    this.header(to, 0);
    this.words[1] = -errno;
    return OUT_HEADER_SIZE;
  }

  entry(to: Unique, entry: Entry): number {
    putEntry(this, FIRST, entry);
    return this.#whole(to, ENTRY_OUT_SIZE);
  }

  /** "No such name", which the kernel keeps for `ttl` ms. */
  negativeEntry(to: Unique, ttl: number): number {
    this.words.fill(0, FIRST, FIRST + ENTRY_OUT_SIZE / 4);
    put64(this.words, FIRST + 4, wholeSeconds(ttl));
    this.words[FIRST + 8] = restNanoseconds(ttl);
    return this.#whole(to, ENTRY_OUT_SIZE);
  }

  attributes(to: Unique, reply: AttributesReply): number {
    put64(this.words, FIRST, wholeSeconds(reply.attributesTtl));
    this.words[FIRST + 2] = restNanoseconds(reply.attributesTtl);
    this.words[FIRST + 3] = 0;
    putAttributes(this, FIRST + 4, reply.attributes);
    return this.#whole(to, ATTR_OUT_SIZE);
  }

  open(to: Unique, open: OpenReply): number {
    putOpen(this.words, FIRST, open);
    return this.#whole(to, OPEN_OUT_SIZE);
  }

  created(to: Unique, entry: Entry, open: OpenReply): number {
    putEntry(this, FIRST, entry);
    putOpen(this.words, FIRST + ENTRY_OUT_SIZE / 4, open);
    return this.#whole(to, ENTRY_OUT_SIZE + OPEN_OUT_SIZE);
  }

  /** A 32-bit count and padding: the answer to WRITE and COPY_FILE_RANGE, and the size asked of an xattr. */
  count32(to: Unique, count: number): number {
    this.words[FIRST] = count;
    this.words[FIRST + 1] = 0;
    return this.#whole(to, 8);
  }

  /** A 64-bit number: the answer to LSEEK and COPY_FILE_RANGE_64. */
  count64(to: Unique, count: number): number {
    put64(this.words, FIRST, count);
    return this.#whole(to, 8);
  }

  statfs(to: Unique, statfs: StatfsReply): number {
    const { words } = this;
    words.fill(0, FIRST, FIRST + 20);
    put64(words, FIRST, statfs.blocks);
    put64(words, FIRST + 2, statfs.bfree);
    put64(words, FIRST + 4, statfs.bavail);
    put64(words, FIRST + 6, statfs.files);
    put64(words, FIRST + 8, statfs.ffree);
    words[FIRST + 10] = statfs.bsize;
    words[FIRST + 11] = statfs.namelen;
    words[FIRST + 12] = statfs.frsize;
    return this.#whole(to, 80);
  }

  /** Copies `slices` (`total` bytes) behind the header: cheaper than a gathering write while they are small. */
  data(to: Unique, slices: readonly Uint8Array[], total: number): number {
    let at = OUT_HEADER_SIZE;
    for (const slice of slices) {
      this.bytes.set(slice, at);
      at += slice.length;
    }
    return this.#whole(to, total);
  }

  /** `fuse_init_out`; what each number means: `negotiation.ts`. */
  init(to: Unique, init: InitReply): number {
    const { words } = this;
    words.fill(0, FIRST, FIRST + 16);
    words[FIRST] = init.major;
    words[FIRST + 1] = init.minor;
    words[FIRST + 2] = init.maxReadahead;
    words[FIRST + 3] = init.flags;
    words[FIRST + 4] = init.maxBackground | (init.congestionThreshold << 16);
    words[FIRST + 5] = init.maxWrite;
    // Times are exact to the nanosecond.
    words[FIRST + 6] = 1;
    words[FIRST + 7] = init.maxPages;
    words[FIRST + 8] = init.flags2;
    return this.#whole(to, 64);
  }
}

export interface InitReply {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWrite: number;
  readonly maxPages: number;
}

/** A name of 255 bytes with the structs before it, and then some: written first, kept if it fits. */
const DIRECTORY_SLACK = 4096;

/** Collects the entries of one READDIR or READDIRPLUS. */
export class DirectoryWriter implements DirectorySink, Memory {
  readonly capacity: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly wide: BigUint64Array;
  plus = false;
  /** Inodes that were taken with an entry: their lookups are to be given back if the answer reaches nobody. */
  readonly lookedUp: number[] = [];
  #limit = 0;
  #length = 0;

  /** `capacity`: the largest answer in bytes, a multiple of 8. */
  constructor(capacity: number) {
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity + DIRECTORY_SLACK);
    this.bytes = Buffer.from(memory);
    this.words = new Uint32Array(memory);
    this.wide = new BigUint64Array(memory);
  }

  begin(plus: boolean, limit: number): void {
    this.plus = plus;
    this.#limit = Math.min(limit, this.capacity);
    this.#length = 0;
    this.lookedUp.length = 0;
  }

  get written(): Uint8Array {
    return this.bytes.subarray(0, this.#length);
  }

  add(entry: DirectoryEntry): boolean {
    const start = this.#length;
    const dirent = this.plus ? start + ENTRY_OUT_SIZE : start;
    const name = dirent + DIRENT_SIZE;
    const nameLength = Buffer.byteLength(entry.name, 'utf8');
    const end = (name + nameLength + 7) & ~7;
    if (end > this.#limit) return false;
    const { words } = this;
    // Padding must not show what an earlier answer left here.
    this.wide[(end >> 3) - 1] = 0n;
    this.bytes.write(entry.name, name, 'utf8');
    const at = dirent >> 2;
    this.wide[at >> 1] = entry.ino;
    put64(words, at + 2, entry.cookie);
    words[at + 4] = nameLength;
    words[at + 5] = entry.type;
    if (this.plus) {
      // nodeid 0 gives the name and type only; the kernel looks the entry up when somebody asks.
      if (entry.entry === undefined) words.fill(0, start >> 2, at);
      else {
        putEntry(this, start >> 2, entry.entry);
        this.lookedUp.push(entry.entry.nodeid);
      }
    }
    this.#length = end;
    return true;
  }
}

/** A message that answers no request: `unique` is 0, and its kind stands where the error stands in an answer. */
function notification(kind: number, payload: number): { bytes: Buffer; words: Uint32Array } {
  const memory = new ArrayBuffer((OUT_HEADER_SIZE + payload + 7) & ~7);
  const words = new Uint32Array(memory);
  words[0] = OUT_HEADER_SIZE + payload;
  words[1] = kind;
  return { bytes: Buffer.from(memory, 0, OUT_HEADER_SIZE + payload), words };
}

/** Drops attributes; with `pages` the cached pages of the whole file as well. */
export function encodeInvalidateInode(nodeid: number, pages: boolean): Buffer {
  const { bytes, words } = notification(NOTIFY_INVAL_INODE, 24);
  put64(words, FIRST, nodeid);
  // An offset below 0 means no pages; a length of 0 means up to the end.
  put64(words, FIRST + 2, pages ? 0 : -1);
  return bytes;
}

export function encodeInvalidateEntry(parent: number, name: string): Buffer {
  const length = Buffer.byteLength(name, 'utf8');
  const { bytes, words } = notification(NOTIFY_INVAL_ENTRY, 16 + length + 1);
  put64(words, FIRST, parent);
  words[FIRST + 2] = length;
  bytes.write(name, OUT_HEADER_SIZE + 16, 'utf8');
  return bytes;
}

/** Asks the kernel to forget inodes that no program uses; of others it takes no notice. */
export function encodePrune(nodeids: readonly number[]): Buffer {
  const { bytes, words } = notification(NOTIFY_PRUNE, 16 + nodeids.length * 8);
  words[FIRST] = nodeids.length;
  for (const [i, nodeid] of nodeids.entries()) put64(words, FIRST + 4 + i * 2, nodeid);
  return bytes;
}
