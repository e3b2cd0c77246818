/**
 * Extended attributes, and the POSIX ACLs that live in them (system.posix_acl_*, as raw bytes in the kernel's format).
 *
 * With FUSE_POSIX_ACL the kernel enforces an access ACL, but the mode that belongs to it and what new files inherit from a
 * directory's default ACL are the filesystem's to keep (acl(5), "CORRESPONDENCE" and "OBJECT CREATION").
 */
import { FsError } from '../errors.ts';
import { XATTR_CREATE, XATTR_REPLACE } from '../fuse/ops.ts';
import type { FullPosix } from './posix.ts';

export const ACL_ACCESS = 'system.posix_acl_access';
export const ACL_DEFAULT = 'system.posix_acl_default';

/** Name spaces that are stored. `trusted.` is for privileged processes; the kernel checks that. */
const NAMESPACES = ['user.', 'security.', 'trusted.'];

/** XATTR_SIZE_MAX of limits.h; S3's 2 KB are reached long before. */
const XATTR_SIZE_MAX = 65_536;

const TAG_USER_OBJ = 0x01;
const TAG_GROUP_OBJ = 0x04;
const TAG_MASK = 0x10;
const TAG_OTHER = 0x20;
const ACL_VERSION = 2;
const ENTRY_BYTES = 8;
const HEADER_BYTES = 4;

interface AclEntry {
  readonly tag: number;
  perm: number;
  readonly id: number;
}

function decodeAcl(value: Uint8Array): AclEntry[] | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < HEADER_BYTES || (value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) return undefined;
  if (view.getUint32(0, true) !== ACL_VERSION) return undefined;
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    entries.push({
      tag: view.getUint16(at, true),
      perm: view.getUint16(at + 2, true),
      id: view.getUint32(at + 4, true),
    });
  }
  return entries;
}

function encodeAcl(entries: readonly AclEntry[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + entries.length * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, ACL_VERSION, true);
  entries.forEach(({ tag, perm, id }, i) => {
    view.setUint16(HEADER_BYTES + i * ENTRY_BYTES, tag, true);
    view.setUint16(HEADER_BYTES + i * ENTRY_BYTES + 2, perm, true);
    view.setUint32(HEADER_BYTES + i * ENTRY_BYTES + 4, id, true);
  });
  return bytes;
}

/** An ACL with only the three entries that the mode says already. */
function isMinimal(entries: readonly AclEntry[]): boolean {
  return entries.every(({ tag }) => tag === TAG_USER_OBJ || tag === TAG_GROUP_OBJ || tag === TAG_OTHER);
}

/** The permission bits that an access ACL stands for: the mask, where there is one, shows as the group's. */
function modeOfAcl(mode: number, entries: readonly AclEntry[]): number {
  const permOf = (tag: number): number | undefined => entries.find(entry => entry.tag === tag)?.perm;
  const user = permOf(TAG_USER_OBJ) ?? (mode >> 6) & 7;
  const group = permOf(TAG_MASK) ?? permOf(TAG_GROUP_OBJ) ?? (mode >> 3) & 7;
  const other = permOf(TAG_OTHER) ?? mode & 7;
  return (mode & ~0o777) | (user << 6) | (group << 3) | other;
}

/** Sets the entries that correspond to the permission bits of `mode`; `and`: leaves only what both allow. */
function applyMode(entries: AclEntry[], mode: number, and: boolean): void {
  const hasMask = entries.some(({ tag }) => tag === TAG_MASK);
  for (const entry of entries) {
    let perm: number | undefined;
    if (entry.tag === TAG_USER_OBJ) perm = (mode >> 6) & 7;
    else if (entry.tag === TAG_OTHER) perm = mode & 7;
    else if (entry.tag === (hasMask ? TAG_MASK : TAG_GROUP_OBJ)) perm = (mode >> 3) & 7;
    if (perm !== undefined) entry.perm = and ? entry.perm & perm : perm;
  }
}

/** chmod of something with an access ACL: the ACL follows. */
export function withModeInAcl(posix: FullPosix, mode: number): FullPosix {
  const acl = posix.xattrs.get(ACL_ACCESS);
  const entries = acl && decodeAcl(acl);
  if (!entries) return { ...posix, mode };
  applyMode(entries, mode, false);
  return { ...posix, mode, xattrs: new Map(posix.xattrs).set(ACL_ACCESS, encodeAcl(entries)) };
}

/** What a new file or directory gets from its directory's default ACL; `mode` as asked for, no umask applied. */
export function inheritAcl(parent: FullPosix, child: FullPosix, isDirectory: boolean): FullPosix {
  const acl = parent.xattrs.get(ACL_DEFAULT);
  const entries = acl && decodeAcl(acl);
  if (!acl || !entries) return child;
  applyMode(entries, child.mode, true);
  const xattrs = new Map(child.xattrs);
  if (!isMinimal(entries)) xattrs.set(ACL_ACCESS, encodeAcl(entries));
  if (isDirectory) xattrs.set(ACL_DEFAULT, acl);
  return { ...child, mode: modeOfAcl(child.mode, entries), xattrs };
}

function isStorable(name: string): boolean {
  return name === ACL_ACCESS || name === ACL_DEFAULT || NAMESPACES.some(space => name.startsWith(space));
}

/** The attributes after a setxattr. Fails as setxattr(2): EOPNOTSUPP, EEXIST, ENODATA, ERANGE, EINVAL. */
export function withXattr(posix: FullPosix, name: string, value: Uint8Array, flags: number): FullPosix {
  if (!isStorable(name)) throw new FsError('EOPNOTSUPP', `extended attribute ${name}`);
  if (value.length > XATTR_SIZE_MAX) throw new FsError('E2BIG');
  const exists = posix.xattrs.has(name);
  if (flags & XATTR_CREATE && exists) throw new FsError('EEXIST');
  if (flags & XATTR_REPLACE && !exists) throw new FsError('ENODATA');
  const xattrs = new Map(posix.xattrs);
  if (name === ACL_ACCESS || name === ACL_DEFAULT) {
    const entries = decodeAcl(value);
    if (!entries) throw new FsError('EINVAL', 'not an ACL');
    if (name === ACL_ACCESS) {
      if (isMinimal(entries)) xattrs.delete(name);
      else xattrs.set(name, value.slice());
      return { ...posix, mode: modeOfAcl(posix.mode, entries), xattrs };
    }
  }
  xattrs.set(name, value.slice());
  return { ...posix, xattrs };
}

export function withoutXattr(posix: FullPosix, name: string): FullPosix {
  if (!posix.xattrs.has(name)) throw new FsError(isStorable(name) ? 'ENODATA' : 'EOPNOTSUPP');
  const xattrs = new Map(posix.xattrs);
  xattrs.delete(name);
  return { ...posix, xattrs };
}
