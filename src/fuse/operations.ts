/**
 * One short function per opcode: takes the fields out of the request, calls the operation, writes its answer. The table
 * at the end is the dispatch. What all of them share (waiting, failing, interrupting) is in `session.ts`.
 */
import { Buffer } from 'node:buffer';
import { ERRNO, toFsError } from '../errors.ts';
import type {
  AttributesReply,
  Awaitable,
  Entry,
  FileSystemOps,
  Name,
  NegativeEntry,
  OpenReply,
  ReadReply,
  StatfsReply,
} from './ops.ts';
import {
  FSYNC_DATA_ONLY,
  GETATTR_FH,
  IN,
  OPCODE,
  OPEN_KILL_SUIDGID,
  WRITE_FROM_CACHE,
  WRITE_KILL_SUIDGID,
} from './protocol.ts';
import { decodeBatchForget, decodeSetAttributes, type RequestReader } from './protocol-decode.ts';
import type { DirectoryWriter, ReplyWriter } from './protocol-encode.ts';
import type { Request } from './request.ts';

const O_CREAT = 0o100;
const O_NOCTTY = 0o400;

/** A write up to this size is copied out of its buffer when too many buffers wait for their operations. */
const SMALL_WRITE = 128 * 1024;

/** The answer to COPY_FILE_RANGE counts in 32 bits; copy_file_range(2) goes on after a short copy. */
const MOST_COPIED = 0x7fff_f000;

/** What an operation's function may use of the session. */
export interface Exchange {
  readonly ops: FileSystemOps;
  readonly reply: ReplyWriter;
  /** The kernel leaves the umask to us (DONT_MASK). */
  readonly masksModes: boolean;
  /** Too many request buffers are pinned. */
  readonly crowded: boolean;
  /** Sends what `result` gives, now or when it is there; its failure is answered as an errno. */
  answer<T>(request: Request, result: Awaitable<T>, send: Send<T>): void;
  /** Sends `length` bytes of `reply`. False: nobody waited for it any more. */
  send(request: Request, length: number): boolean;
  sendBytes(request: Request, slices: readonly Uint8Array[], total: number): boolean;
  sendErrno(request: Request, errno: number): void;
  /** Answers what no kernel sends. */
  malformed(request: Request): void;
  /** Keeps the buffer with the request's data until it is answered. */
  keepBuffer(request: Request): void;
  directoryWriter(size: number): DirectoryWriter;
  /** Takes back an open that was answered to nobody. */
  releaseUnanswered(request: Request, nodeid: number, fh: number, directory: boolean): void;
  interrupt(request: Request, target: number): void;
  init(buffer: RequestReader, request: Request): void;
}

export type Send<T> = (exchange: Exchange, request: Request, value: T) => void;
export type Operation = (exchange: Exchange, buffer: RequestReader, request: Request) => void;

const sendEmpty: Send<void> = (x, request) => {
  x.send(request, x.reply.empty(request));
};

const sendAttributes: Send<AttributesReply> = (x, request, value) => {
  x.send(request, x.reply.attributes(request, value));
};

const sendEntry: Send<Entry> = (x, request, entry) => {
  // The lookup was counted when the operation answered; without a receiver nobody would ever forget it.
  if (!x.send(request, x.reply.entry(request, entry))) x.ops.forget(entry.nodeid, 1);
};

const sendLookup: Send<Entry | NegativeEntry> = (x, request, entry) => {
  if (isNegative(entry)) {
    if (entry.entryTtl > 0) x.send(request, x.reply.negativeEntry(request, entry.entryTtl));
    else x.sendErrno(request, ERRNO.ENOENT);
  } else sendEntry(x, request, entry);
};

function isNegative(entry: Entry | NegativeEntry): entry is NegativeEntry {
  return entry.nodeid === 0;
}

const sendOpen: Send<OpenReply> = (x, request, open) => {
  if (!x.send(request, x.reply.open(request, open))) {
    x.releaseUnanswered(request, request.nodeid, open.fh, request.opcode === OPCODE.OPENDIR);
  }
};

const sendCreated: Send<{ readonly entry: Entry; readonly open: OpenReply }> = (x, request, { entry, open }) => {
  if (!x.send(request, x.reply.created(request, entry, open))) {
    x.releaseUnanswered(request, entry.nodeid, open.fh, false);
    x.ops.forget(entry.nodeid, 1);
  }
};

const sendRead: Send<ReadReply> = (x, request, read) => {
  try {
    let total = 0;
    for (const slice of read.slices) total += slice.length;
    if (total > request.size) throw new Error(`a read of ${request.size} bytes was answered with ${total}`);
    x.sendBytes(request, read.slices, total);
  } finally {
    read.release?.();
  }
};

const sendCount: Send<number> = (x, request, count) => {
  x.send(request, x.reply.count32(request, count));
};

const sendWide: Send<number> = (x, request, count) => {
  x.send(request, x.reply.count64(request, count));
};

const sendStatfs: Send<StatfsReply> = (x, request, statfs) => {
  x.send(request, x.reply.statfs(request, statfs));
};

const sendLink: Send<Uint8Array> = (x, request, target) => {
  x.sendBytes(request, [target], target.length);
};

/** getxattr(2) and listxattr(2): size 0 asks how large it is. */
const sendXattr: Send<Uint8Array> = (x, request, value) => {
  if (request.size === 0) x.send(request, x.reply.count32(request, value.length));
  else if (value.length > request.size) x.sendErrno(request, ERRNO.ERANGE);
  else x.sendBytes(request, [value], value.length);
};

const sendXattrNames: Send<readonly string[]> = (x, request, names) => {
  sendXattr(x, request, Buffer.from(names.map(name => `${name}\0`).join('')));
};

const sendDirectory: Send<void> = (x, request) => {
  const { written, lookedUp } = request.directory!;
  if (x.sendBytes(request, [written], written.length)) lookedUp.length = 0;
};

/** A last name as an argument: malformed requests are answered here, and `run` is not called. */
function withName(x: Exchange, buffer: RequestReader, request: Request, at: number, run: (name: Name) => void): void {
  const name = buffer.lastName(at);
  if (name === false) x.malformed(request);
  else run(name);
}

/**
 * Calls `create` with the mode that a new inode gets. Where the kernel leaves it to us: with the umask applied, unless
 * the parent has a default ACL, which stands in the umask's place.
 */
function withMode<T>(
  x: Exchange,
  request: Request,
  mode: number,
  umask: number,
  create: (mode: number) => Awaitable<T>,
): Awaitable<T> {
  if (!x.masksModes || umask === 0) return create(mode);
  const none = (error: unknown): Awaitable<T> => {
    if (toFsError(error) === undefined) throw error;
    return create(mode & ~umask);
  };
  let acl: Awaitable<Uint8Array>;
  try {
    acl = x.ops.getxattr(request.nodeid, 'system.posix_acl_default', request);
  } catch (error) {
    return none(error);
  }
  return acl instanceof Promise ? acl.then(() => create(mode), none) : create(mode);
}

const rename = (x: Exchange, buffer: RequestReader, request: Request, at: number, flags: number): void => {
  const from = buffer.name(at);
  if (from === undefined) {
    x.malformed(request);
    return;
  }
  const newParent = buffer.u64(IN.RENAME.newdir);
  withName(x, buffer, request, from.next, newName => {
    x.answer(request, x.ops.rename(request.nodeid, from.name, newParent, newName, flags, request), sendEmpty);
  });
};

const readdir = (x: Exchange, buffer: RequestReader, request: Request, plus: boolean): void => {
  const at = IN.READ;
  const size = buffer.u32(at.size);
  const sink = x.directoryWriter(size);
  sink.begin(plus, size);
  request.directory = sink;
  const done = x.ops.readdir(request.nodeid, buffer.u64(at.fh), buffer.u64(at.offset), sink, request);
  x.answer(request, done, sendDirectory);
};

const copyFileRange = (x: Exchange, buffer: RequestReader, request: Request, send: Send<number>): void => {
  const at = IN.COPY_FILE_RANGE;
  const copied = x.ops.copyFileRange(
    { nodeid: request.nodeid, fh: buffer.u64(at.fhIn), offset: buffer.u64(at.offIn) },
    { nodeid: buffer.u64(at.nodeidOut), fh: buffer.u64(at.fhOut), offset: buffer.u64(at.offOut) },
    send === sendCount ? Math.min(buffer.u64(at.length), MOST_COPIED) : buffer.u64(at.length),
    buffer.u64(at.flags),
    request,
  );
  x.answer(request, copied, send);
};

/** The kernel asks no more for what was once answered with ENOSYS. */
const refuse =
  (errno: number): Operation =>
  (x, _buffer, request) =>
    x.sendErrno(request, errno);

const { LOOKUP, GETATTR, MKNOD, MKDIR, OPEN, CREATE, READ, WRITE, RELEASE, FLUSH, FSYNC, FALLOCATE, LSEEK } = IN;

const TABLE: Readonly<Record<keyof typeof OPCODE, Operation>> = {
  INIT: (x, buffer, request) => x.init(buffer, request),
  LOOKUP(x, buffer, request) {
    const name = buffer.lastName(LOOKUP.name);
    if (name === false) x.malformed(request);
    else x.answer(request, x.ops.lookup(request.nodeid, name, request), sendLookup);
  },
  FORGET: (x, buffer, request) => x.ops.forget(request.nodeid, buffer.u64(IN.FORGET.nlookup)),
  BATCH_FORGET(x, buffer) {
    decodeBatchForget(buffer, (nodeid, count) => x.ops.forget(nodeid, count));
  },
  GETATTR(x, buffer, request) {
    const fh = buffer.u32(GETATTR.flags) & GETATTR_FH ? buffer.u64(GETATTR.fh) : undefined;
    x.answer(request, x.ops.getattr(request.nodeid, fh, request), sendAttributes);
  },
  SETATTR(x, buffer, request) {
    x.answer(request, x.ops.setattr(request.nodeid, decodeSetAttributes(buffer), request), sendAttributes);
  },
  READLINK: (x, _buffer, request) => x.answer(request, x.ops.readlink(request.nodeid, request), sendLink),
  SYMLINK(x, buffer, request) {
    const link = buffer.name(IN.SYMLINK.name);
    if (link === undefined) return x.malformed(request);
    const target = buffer.data(link.next, buffer.length - link.next - 1);
    if (target === undefined || buffer.bytes[buffer.length - 1] !== 0) return x.malformed(request);
    x.answer(request, x.ops.symlink(request.nodeid, link.name, new Uint8Array(target), request), sendEntry);
  },
  MKNOD(x, buffer, request) {
    withName(x, buffer, request, MKNOD.name, name => {
      const rdev = buffer.u32(MKNOD.rdev);
      const entry = withMode(x, request, buffer.u32(MKNOD.mode), buffer.u32(MKNOD.umask), mode =>
        x.ops.mknod(request.nodeid, name, mode, rdev, request),
      );
      x.answer(request, entry, sendEntry);
    });
  },
  MKDIR(x, buffer, request) {
    withName(x, buffer, request, MKDIR.name, name => {
      const entry = withMode(x, request, buffer.u32(MKDIR.mode), buffer.u32(MKDIR.umask), mode =>
        x.ops.mkdir(request.nodeid, name, mode, request),
      );
      x.answer(request, entry, sendEntry);
    });
  },
  UNLINK(x, buffer, request) {
    withName(x, buffer, request, IN.UNLINK.name, name => {
      x.answer(request, x.ops.unlink(request.nodeid, name, request), sendEmpty);
    });
  },
  RMDIR(x, buffer, request) {
    withName(x, buffer, request, IN.UNLINK.name, name => {
      x.answer(request, x.ops.rmdir(request.nodeid, name, request), sendEmpty);
    });
  },
  RENAME: (x, buffer, request) => rename(x, buffer, request, IN.RENAME.name, 0),
  RENAME2: (x, buffer, request) => rename(x, buffer, request, IN.RENAME2.name, buffer.u32(IN.RENAME2.flags)),
  LINK(x, buffer, request) {
    withName(x, buffer, request, IN.LINK.name, name => {
      x.answer(request, x.ops.link(buffer.u64(IN.LINK.oldNodeid), request.nodeid, name, request), sendEntry);
    });
  },
  OPEN(x, buffer, request) {
    const killSuidgid = (buffer.u32(OPEN.openFlags) & OPEN_KILL_SUIDGID) !== 0;
    x.answer(request, x.ops.open(request.nodeid, buffer.u32(OPEN.flags), request, { killSuidgid }), sendOpen);
  },
  CREATE(x, buffer, request) {
    withName(x, buffer, request, CREATE.name, name => {
      const flags = buffer.u32(CREATE.flags) & ~(O_CREAT | O_NOCTTY);
      const created = withMode(x, request, buffer.u32(CREATE.mode), buffer.u32(CREATE.umask), mode =>
        x.ops.create(request.nodeid, name, mode, flags, request),
      );
      x.answer(request, created, sendCreated);
    });
  },
  READ(x, buffer, request) {
    const size = buffer.u32(READ.size);
    request.size = size;
    const read = x.ops.read(request.nodeid, buffer.u64(READ.fh), buffer.u64(READ.offset), size, request);
    x.answer(request, read, sendRead);
  },
  WRITE(x, buffer, request) {
    const data = buffer.data(WRITE.data, buffer.u32(WRITE.size));
    if (data === undefined) return x.malformed(request);
    const copied = x.crowded && data.length <= SMALL_WRITE;
    const flags = buffer.u32(WRITE.writeFlags);
    const written = x.ops.write(
      request.nodeid,
      buffer.u64(WRITE.fh),
      buffer.u64(WRITE.offset),
      copied ? new Uint8Array(data) : data,
      { killSuidgid: (flags & WRITE_KILL_SUIDGID) !== 0, fromPageCache: (flags & WRITE_FROM_CACHE) !== 0 },
      request,
    );
    if (written instanceof Promise && !copied) x.keepBuffer(request);
    x.answer(request, written, sendCount);
  },
  STATFS: (x, _buffer, request) => x.answer(request, x.ops.statfs(request.nodeid, request), sendStatfs),
  RELEASE(x, buffer, request) {
    x.answer(request, x.ops.release(request.nodeid, buffer.u64(RELEASE.fh), request), sendEmpty);
  },
  FLUSH(x, buffer, request) {
    x.answer(request, x.ops.flush(request.nodeid, buffer.u64(FLUSH.fh), request), sendEmpty);
  },
  FSYNC(x, buffer, request) {
    const dataOnly = (buffer.u32(FSYNC.flags) & FSYNC_DATA_ONLY) !== 0;
    x.answer(request, x.ops.fsync(request.nodeid, buffer.u64(FSYNC.fh), dataOnly, request), sendEmpty);
  },
  OPENDIR(x, buffer, request) {
    x.answer(request, x.ops.opendir(request.nodeid, buffer.u32(OPEN.flags), request), sendOpen);
  },
  READDIR: (x, buffer, request) => readdir(x, buffer, request, false),
  READDIRPLUS: (x, buffer, request) => readdir(x, buffer, request, true),
  RELEASEDIR(x, buffer, request) {
    x.answer(request, x.ops.releasedir(request.nodeid, buffer.u64(RELEASE.fh), request), sendEmpty);
  },
  FSYNCDIR(x, buffer, request) {
    const dataOnly = (buffer.u32(FSYNC.flags) & FSYNC_DATA_ONLY) !== 0;
    x.answer(request, x.ops.fsyncdir(request.nodeid, buffer.u64(FSYNC.fh), dataOnly, request), sendEmpty);
  },
  GETXATTR(x, buffer, request) {
    request.size = buffer.u32(IN.GETXATTR.size);
    withName(x, buffer, request, IN.GETXATTR.name, name => {
      if (name === undefined) x.sendErrno(request, ERRNO.ENODATA);
      else x.answer(request, x.ops.getxattr(request.nodeid, name, request), sendXattr);
    });
  },
  SETXATTR(x, buffer, request) {
    const at = IN.SETXATTR;
    const attribute = buffer.name(at.name);
    if (attribute === undefined) return x.malformed(request);
    const value = buffer.data(attribute.next, buffer.u32(at.size));
    if (value === undefined) return x.malformed(request);
    if (attribute.name === undefined) return x.sendErrno(request, ERRNO.EILSEQ);
    const flags = buffer.u32(at.flags);
    const done = x.ops.setxattr(request.nodeid, attribute.name, new Uint8Array(value), flags, request);
    x.answer(request, done, sendEmpty);
  },
  LISTXATTR(x, buffer, request) {
    request.size = buffer.u32(IN.LISTXATTR.size);
    x.answer(request, x.ops.listxattr(request.nodeid, request), sendXattrNames);
  },
  REMOVEXATTR(x, buffer, request) {
    withName(x, buffer, request, IN.REMOVEXATTR.name, name => {
      if (name === undefined) x.sendErrno(request, ERRNO.ENODATA);
      else x.answer(request, x.ops.removexattr(request.nodeid, name, request), sendEmpty);
    });
  },
  ACCESS(x, buffer, request) {
    x.answer(request, x.ops.access(request.nodeid, buffer.u32(IN.ACCESS.mask), request), sendEmpty);
  },
  FALLOCATE(x, buffer, request) {
    const at = FALLOCATE;
    const done = x.ops.fallocate(
      request.nodeid,
      buffer.u64(at.fh),
      buffer.u32(at.mode),
      buffer.u64(at.offset),
      buffer.u64(at.length),
      request,
    );
    x.answer(request, done, sendEmpty);
  },
  LSEEK(x, buffer, request) {
    const at = LSEEK;
    const offset = buffer.u64(at.offset);
    x.answer(request, x.ops.lseek(request.nodeid, buffer.u64(at.fh), offset, buffer.u32(at.whence), request), sendWide);
  },
  COPY_FILE_RANGE: (x, buffer, request) => copyFileRange(x, buffer, request, sendCount),
  COPY_FILE_RANGE_64: (x, buffer, request) => copyFileRange(x, buffer, request, sendWide),
  INTERRUPT: (x, buffer, request) => x.interrupt(request, buffer.u64(IN.INTERRUPT.unique)),
  DESTROY: (x, _buffer, request) => sendEmpty(x, request, undefined),
  NOTIFY_REPLY: () => {},
  IOCTL: refuse(ERRNO.ENOTTY),
  // Locks are not negotiated: the kernel keeps them itself.
  GETLK: refuse(ERRNO.ENOSYS),
  SETLK: refuse(ERRNO.ENOSYS),
  SETLKW: refuse(ERRNO.ENOSYS),
  BMAP: refuse(ERRNO.ENOSYS),
  POLL: refuse(ERRNO.ENOSYS),
  SYNCFS: refuse(ERRNO.ENOSYS),
  // open(O_TMPFILE) then fails with EOPNOTSUPP, and programs make a named file.
  TMPFILE: refuse(ERRNO.ENOSYS),
  // statx(2) then comes as GETATTR.
  STATX: refuse(ERRNO.ENOSYS),
};

/** By opcode; holes are opcodes that nobody knows. */
export const OPERATIONS: readonly (Operation | undefined)[] = Object.entries(OPCODE).reduce((table, [name, opcode]) => {
  table[opcode] = TABLE[name as keyof typeof OPCODE];
  return table;
}, new Array<Operation | undefined>(64).fill(undefined));
