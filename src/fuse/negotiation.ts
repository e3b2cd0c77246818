/** INIT: what we ask of the kernel, and why. Pure. */

import {
  INIT_FLAG,
  type InitFlagName,
  MAX_IO,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  PROTOCOL_MINOR_LEAST,
} from './protocol.ts';
import type { InitReply } from './protocol-encode.ts';

/**
 * Not among them: AUTO_INVAL_DATA drops cached pages for each mtime that we report after a write of our own
 * (EXPLICIT_INVAL_DATA is its opposite: pages go when we say so). WRITEBACK_CACHE gives size and mtime to the kernel and
 * halves large writes. POSIX_LOCKS and FLOCK_LOCKS: without them the kernel keeps locks per mount by itself.
 */
const WANTED: readonly InitFlagName[] = [
  'ASYNC_READ',
  'BIG_WRITES',
  'ATOMIC_O_TRUNC',
  'PARALLEL_DIROPS',
  'DO_READDIRPLUS',
  'READDIRPLUS_AUTO',
  'ASYNC_DIO',
  'MAX_PAGES',
  'INIT_EXT',
  'CACHE_SYMLINKS',
  'HAS_EXPIRE_ONLY',
  'EXPLICIT_INVAL_DATA',
  // With the first HANDLE_KILLPRIV, or none, each write asks for security.capability first.
  'HANDLE_KILLPRIV_V2',
  'DIRECT_IO_ALLOW_MMAP',
  // Tells an aborted connection (ECONNABORTED) from an unmount (ENODEV).
  'ABORT_ERROR',
];

/** With ACLs stored by us, a directory's default ACL replaces the umask: so the kernel must leave the mode alone. */
const WANTED_FOR_ACL: readonly InitFlagName[] = ['POSIX_ACL', 'DONT_MASK'];

/** Readahead and RELEASE share this many requests; the default of 12 starves one for the other. */
const MAX_BACKGROUND = 512;

/** Bytes in a page on every machine that counts here; 64 KiB pages get the same 1 MiB by fewer of them. */
const LEAST_PAGE = 4096;

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
}

export interface Negotiated {
  readonly reply: InitReply;
  readonly flags: ReadonlySet<InitFlagName>;
}

/** The answer to the kernel's INIT; `undefined` if it speaks a protocol older than we can. */
export function negotiate(request: InitRequest, options: { readonly posixAcl: boolean }): Negotiated | undefined {
  const { major, minor } = request;
  if (major < PROTOCOL_MAJOR || (major === PROTOCOL_MAJOR && minor < PROTOCOL_MINOR_LEAST)) return undefined;
  const flags = new Set<InitFlagName>();
  let low = 0;
  let high = 0;
  for (const name of options.posixAcl ? [...WANTED, ...WANTED_FOR_ACL] : WANTED) {
    const bit = INIT_FLAG[name];
    const offered = bit < 32 ? (request.flags >>> bit) & 1 : (request.flags2 >>> (bit - 32)) & 1;
    if (!offered) continue;
    flags.add(name);
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  return {
    flags,
    reply: {
      major: PROTOCOL_MAJOR,
      // A kernel with a newer major asks again in ours.
      minor: major > PROTOCOL_MAJOR ? PROTOCOL_MINOR : Math.min(minor, PROTOCOL_MINOR),
      maxReadahead: MAX_IO,
      flags: low >>> 0,
      flags2: high >>> 0,
      maxBackground: MAX_BACKGROUND,
      congestionThreshold: (MAX_BACKGROUND * 3) / 4,
      maxWrite: MAX_IO,
      maxPages: MAX_IO / LEAST_PAGE,
    },
  };
}
