/** System calls that Node does not offer, for tests that touch a mount. They block: not for the process that serves it. */
import os from 'node:os';
import koffi from 'koffi';

const libc = koffi.load(null);
const names = new Map(Object.entries(os.constants.errno).map(([name, number]) => [number, name]));
names.set(61, 'ENODATA');
names.set(95, 'EOPNOTSUPP');

const bind = (name: string, result: string, args: string[]): ((...values: unknown[]) => number) => {
  const call = libc.func(name, result, args) as (...values: unknown[]) => number;
  return (...values) => {
    const value = call(...values);
    if (value >= 0) return value;
    const errno = koffi.errno();
    const code = names.get(errno) ?? `errno ${errno}`;
    throw Object.assign(new Error(`${name}: ${code}`), { code });
  };
};

const AT_FDCWD = -100;
const cRenameat2 = bind('renameat2', 'int', ['int', 'const char *', 'int', 'const char *', 'uint']);
const cSetxattr = bind('setxattr', 'int', ['const char *', 'const char *', 'void *', 'size_t', 'int']);
const cGetxattr = bind('getxattr', 'long', ['const char *', 'const char *', 'void *', 'size_t']);
const cListxattr = bind('listxattr', 'long', ['const char *', 'void *', 'size_t']);
const cCopyFileRange = bind('copy_file_range', 'long', ['int', 'void *', 'int', 'void *', 'size_t', 'uint']);
const cMmap = libc.func('mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'long']);

export const renameat2 = (from: string, to: string, flags: number): number =>
  cRenameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
export const setxattr = (path: string, name: string, value: Uint8Array, flags = 0): number =>
  cSetxattr(path, name, value, value.length, flags);
export const removexattr = bind('removexattr', 'int', ['const char *', 'const char *']) as (
  path: string,
  name: string,
) => number;
export const fallocate = bind('fallocate', 'int', ['int', 'int', 'long', 'long']) as (
  fd: number,
  mode: number,
  offset: number,
  length: number,
) => number;
export const lseek = bind('lseek', 'long', ['int', 'long', 'int']) as (
  fd: number,
  offset: number,
  whence: number,
) => number;

/** The value, read into `capacity` bytes; with 0 an empty buffer, `size` telling how large it would have to be. */
export function getxattr(path: string, name: string, capacity = 65536): { value: Buffer; size: number } {
  const into = Buffer.alloc(Math.max(capacity, 1));
  const size = cGetxattr(path, name, into, capacity);
  return { value: into.subarray(0, Math.min(size, capacity)), size };
}

export function listxattr(path: string): string[] {
  const into = Buffer.alloc(65536);
  const size = cListxattr(path, into, into.length);
  return into.toString('utf8', 0, size).split('\0').filter(Boolean);
}

export const copyFileRange = (from: number, to: number, length: number): number =>
  cCopyFileRange(from, null, to, null, length, 0);

/** Copies from one place to another; the bytes copied, perhaps fewer than asked for. */
export function copyFileRangeAt(from: number, offset: number, to: number, target: number, length: number): number {
  const places = [offset, target].map(place => {
    const word = Buffer.alloc(64);
    word.writeBigInt64LE(BigInt(place));
    return word;
  });
  return cCopyFileRange(from, places[0], to, places[1], length, 0);
}

/** Maps `length` bytes of `fd` shared, for writing too unless told otherwise; `sync` writes them back, `unmap` ends it. */
export function mapShared(
  fd: number,
  length: number,
  access: 'read' | 'write' = 'write',
): { bytes: Uint8Array; sync(): void; unmap(): void } {
  const address: unknown = cMmap(null, length, access === 'write' ? 3 : 1, 1, fd, 0);
  if (koffi.address(address) === MAP_FAILED) throw new Error(`mmap: ${names.get(koffi.errno()) ?? koffi.errno()}`);
  return {
    bytes: new Uint8Array(koffi.view(address, length)),
    sync: () => void msync(address, length, 4),
    unmap: () => void munmap(address, length),
  };
}
const MAP_FAILED = 2n ** 64n - 1n;
const msync = bind('msync', 'int', ['void *', 'size_t', 'int']);
const munmap = bind('munmap', 'int', ['void *', 'size_t']);
