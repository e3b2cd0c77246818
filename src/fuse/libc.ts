/**
 * The system calls that Node does not offer, by koffi. Loaded when first asked for, so that commands which mount nothing
 * do not pay for it, and absent (`undefined`) where koffi has no library for the machine.
 *
 * Memory is handed over as addresses: of an ArrayBuffer of its own, whose bytes never move. (The bytes of a small typed
 * array lie on V8's heap and do move; so nothing here takes one.)
 */
import { Buffer } from 'node:buffer';
import type { LogFields } from '../telemetry.ts';
import { loopWatch, type WatchReadable } from './loop-watch.ts';

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** FUSE_DEV_IOC_CLONE: joins a fresh /dev/fuse descriptor to the connection of another. */
const FUSE_DEV_IOC_CLONE = 0x8004e500;

export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

/** Calls return what the C functions return; after a negative result `errno()` tells why. */
export interface Libc {
  open(path: string, flags: number): number;
  close(fd: number): number;
  read(fd: number, address: number, size: number): number;
  write(fd: number, address: number, size: number): number;
  /** `address` of `count` structs iovec. */
  writev(fd: number, address: number, count: number): number;
  /** `operation`: LOCK_EX 2, with LOCK_NB 4 without waiting. */
  flock(fd: number, operation: number): number;
  mount(source: string, target: string, type: string, flags: number, data: string): number;
  /** Joins `fd`, fresh from open, to the connection of `original`. */
  cloneFuseDevice(fd: number, original: number): number;
  /** Waits for descriptors in the event loop; undefined where this Node does not let us. */
  readonly watchReadable: WatchReadable | undefined;
  /** Both ends, close-on-exec; `undefined` on failure. */
  socketPair(): readonly [number, number] | undefined;
  /** The descriptor that was sent over a socket; `undefined` if none is there. Does not wait. */
  receiveDescriptor(socket: number): number | undefined;
  errno(): number;
  /** Where the bytes of `memory` lie, valid as long as it is referenced. */
  addressOf(memory: ArrayBufferLike): number;
}

let loaded: Promise<Libc | undefined> | undefined;

/** The C library, or `undefined` where koffi cannot be loaded; `onFailure` then gets the reason, once. */
export function loadLibc(onFailure: (fields: LogFields) => void): Promise<Libc | undefined> {
  loaded ??= bind().catch((error: unknown) => {
    onFailure({ error: error instanceof Error ? error.message : String(error) });
    return undefined;
  });
  return loaded;
}

async function bind(): Promise<Libc> {
  const { default: koffi } = await import('koffi');
  // The process itself: glibc and musl alike, under whatever file name.
  const self = koffi.load(null);
  const addressOf = (memory: ArrayBufferLike): number => Number(koffi.address(memory));
  const ioctl = self.func('ioctl', 'int', ['int', 'ulong', 'uintptr_t']);
  const socketpair = self.func('socketpair', 'int', ['int', 'int', 'int', 'uintptr_t']);
  const recvmsg = self.func('recvmsg', 'long', ['int', 'uintptr_t', 'int']);
  return {
    open: self.func('open', 'int', ['const char *', 'int']),
    close: self.func('close', 'int', ['int']),
    read: self.func('read', 'long', ['int', 'uintptr_t', 'size_t']),
    write: self.func('write', 'long', ['int', 'uintptr_t', 'size_t']),
    writev: self.func('writev', 'long', ['int', 'uintptr_t', 'int']),
    flock: self.func('flock', 'int', ['int', 'int']),
    mount: self.func('mount', 'int', ['const char *', 'const char *', 'const char *', 'ulong', 'const char *']),
    cloneFuseDevice(fd, original) {
      const argument = new Uint32Array(new ArrayBuffer(64));
      argument[0] = original;
      return ioctl(fd, FUSE_DEV_IOC_CLONE, addressOf(argument.buffer));
    },
    watchReadable: loopWatch(koffi),
    socketPair() {
      const pair = new Int32Array(new ArrayBuffer(64));
      if (socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, addressOf(pair.buffer)) !== 0) return undefined;
      return [pair[0]!, pair[1]!];
    },
    receiveDescriptor(socket) {
      // One block of memory, as 64-bit machines lay it out: msghdr (56 bytes) at 0, iovec (16) at 64, data at 80,
      // control message at 128: cmsghdr { u64 length; i32 level; i32 type }, then the descriptor.
      const memory = new ArrayBuffer(256);
      const base = BigInt(addressOf(memory));
      const wide = new BigUint64Array(memory);
      wide[2] = base + 64n;
      wide[3] = 1n;
      wide[4] = base + 128n;
      wide[5] = 128n;
      wide[8] = base + 80n;
      wide[9] = 1n;
      const received = recvmsg(socket, Number(base), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      const control = Buffer.from(memory, 128);
      if (received < 0 || control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS)
        return undefined;
      return control.readInt32LE(16);
    },
    errno: () => koffi.errno(),
    addressOf,
  };
}
