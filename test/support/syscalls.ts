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

/** Maps `length` bytes of `fd` shared and writable; `sync` writes them back, `unmap` ends it. */
export function mapShared(fd: number, length: number): { bytes: Uint8Array; sync(): void; unmap(): void } {
  const address: unknown = cMmap(null, length, 3, 1, fd, 0);
  return {
    bytes: new Uint8Array(koffi.view(address, length)),
    sync: () => void msync(address, length, 4),
    unmap: () => void munmap(address, length),
  };
}
const msync = bind('msync', 'int', ['void *', 'size_t', 'int']);
const munmap = bind('munmap', 'int', ['void *', 'size_t']);
