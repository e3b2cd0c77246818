/**
 * Operations on what is kept beside the bytes: mode, owner, times, extended attributes. The inode has a change at once, S3 soon
 * after (`MetadataSaver`), with the save of the bytes where there is one.
 */
import { FsError } from '../errors.ts';
import type { Awaitable, RequestContext, SetAttributes, Timestamp } from '../fuse/ops.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode } from './inode.ts';
import { S_IFMT, withoutSuidgid } from './modes.ts';
import type { Names } from './names.ts';
import type { Namespace } from './namespace.ts';
import type { OpenFiles } from './open-files.ts';
import { compareTimes, type FullPosix } from './posix.ts';
import type { Saver } from './saver.ts';
import { isVirtualXattr, VirtualXattrs } from './virtual-xattrs.ts';
import { ACL_ACCESS, ACL_DEFAULT, inheritAcl, withModeInAcl, withoutXattr, withXattr } from './xattrs.ts';

export class MetadataOperations {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #names: Names;
  readonly #files: OpenFiles;
  readonly #saver: Saver;
  readonly #virtualXattrs: VirtualXattrs;

  constructor(environment: Environment, namespace: Namespace, names: Names, files: OpenFiles, saver: Saver) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#names = names;
    this.#files = files;
    this.#saver = saver;
    this.#virtualXattrs = new VirtualXattrs(environment);
  }

  /** What setattr changes beside the size. */
  async change(inode: Inode, change: SetAttributes): Promise<void> {
    if (!(inode instanceof DirectoryInode)) await this.#namespace.exactly(inode);
    const { posix } = inode;
    const now = this.#names.now();
    const changed = changedPosix(posix, change, now, inode instanceof DirectoryInode);
    if (changed === posix) return;
    await this.#learn(inode);
    this.#setPosix(inode, changedPosix(inode.posix, change, now, inode instanceof DirectoryInode));
    if (inode instanceof FileInode && (change.mtime !== undefined || change.atime !== undefined)) inode.timesSet = true;
    await this.#saver.metadata.saveArchived(inode);
  }

  /** New metadata is written in full: what is kept there already must be known. */
  async #learn(inode: Inode): Promise<void> {
    if (inode instanceof DirectoryInode) return;
    await this.#namespace.exactly(inode);
    await this.#saver.descriptions.learn(inode);
  }

  #setPosix(inode: Inode, posix: FullPosix): void {
    const before = inode.posix;
    inode.posix = posix;
    try {
      this.#names.expectMetadataFits(inode);
    } catch (error) {
      inode.posix = before;
      throw error;
    }
    if (inode instanceof FileInode) {
      if (!inode.unlinked) this.#files.metadataChanged(inode);
    } else if (inode.parent || inode === this.#namespace.root) this.#saver.metadata.schedule(inode);
  }

  /** What a directory's default ACL gives to what is made in it. */
  inheritAcl(parent: DirectoryInode, inode: Inode): void {
    const inherited = inheritAcl(parent.posix, inode.posix, inode instanceof DirectoryInode);
    if (inherited !== inode.posix) this.#setPosix(inode, inherited);
  }

  getxattr(nodeid: number, name: string, ctx: RequestContext): Awaitable<Uint8Array> {
    const inode = this.#namespace.inode(nodeid);
    if (isVirtualXattr(name)) return this.#virtualXattrs.get(inode, name, ctx.signal);
    this.#expectXattrs(name);
    // `ls -l` asks twice for each file: the answer costs no promise and no signal where it is at hand.
    const isKnown = !(inode instanceof FileInode) || inode.exact || this.#environment.options.stat === 'list';
    if (isKnown) return this.#xattrOf(inode, name);
    return this.#namespace.exactly(inode, ctx).then(exact => this.#xattrOf(exact, name));
  }

  #xattrOf(inode: Inode, name: string): Uint8Array {
    const value = inode.posix.xattrs.get(name);
    if (value) return value;
    if (name === SELINUX_LABEL || (isAcl(name) && this.#overridesModes)) throw NONE_HERE;
    throw NO_XATTR;
  }

  /** Then the kernel does not enforce ACLs, and asks for one each time that somebody else does. */
  get #overridesModes(): boolean {
    const { umask, fmask, dmask, uid, gid } = this.#environment.options;
    return (umask ?? fmask ?? dmask ?? uid ?? gid) !== undefined;
  }

  async setxattr(nodeid: number, name: string, value: Uint8Array, flags: number): Promise<void> {
    if (this.#environment.options.readOnly) throw new FsError('EROFS');
    const inode = this.#namespace.inode(nodeid);
    if (isVirtualXattr(name)) return this.#virtualXattrs.set(inode, name, value);
    this.#expectXattrs(name);
    const copy = value.slice();
    await this.#learn(inode);
    this.#setPosix(inode, { ...withXattr(inode.posix, name, copy, flags), ctime: this.#names.now() });
    await this.#saver.metadata.saveArchived(inode);
    this.#environment.notifier?.invalidateInode(nodeid);
  }

  async listxattr(nodeid: number, ctx: RequestContext): Promise<readonly string[]> {
    this.#expectXattrs();
    const inode = await this.#namespace.exactly(this.#namespace.inode(nodeid), ctx);
    // What is made up here is found by its name only: `cp -a` and `rsync -X` would carry it along as if it were stored.
    return [...inode.posix.xattrs.keys()].filter(name => !isVirtualXattr(name) && !this.#isRefused(name));
  }

  async removexattr(nodeid: number, name: string): Promise<void> {
    if (isVirtualXattr(name)) throw new FsError('EPERM', `${name} tells what S3 has and cannot be removed`);
    this.#expectXattrs(name);
    if (this.#environment.options.readOnly) throw new FsError('EROFS');
    const inode = this.#namespace.inode(nodeid);
    await this.#learn(inode);
    this.#setPosix(inode, { ...withoutXattr(inode.posix, name), ctime: this.#names.now() });
    await this.#saver.metadata.saveArchived(inode);
  }

  #expectXattrs(name?: string): void {
    const { options } = this.#environment;
    if (name !== undefined && this.#isRefused(name)) throw new FsError('EOPNOTSUPP', `${name} with stat=list`);
    if (!options.xattr || options.metadata === 'none') throw new FsError('EOPNOTSUPP', 'extended attributes are off');
  }

  /** Where modes are not the objects' own, ACLs beside them mean nothing; `ls -l` that is told so asks once and not for each file. */
  #isRefused(name: string): boolean {
    return this.#environment.options.stat === 'list' && isAcl(name);
  }
}

/** One for all: the usual answer to `ls -l`, whose stack nobody reads and which would cost more than the rest. */
const NO_XATTR = new FsError('ENODATA');
const SELINUX_LABEL = 'security.selinux';
/** `ls -l` asks for the label and the ACL of each file unless it is told once that there are none here. */
const NONE_HERE = new FsError('EOPNOTSUPP');

function isAcl(name: string): boolean {
  return name === ACL_ACCESS || name === ACL_DEFAULT;
}

/** The attributes after a setattr; the same object where nothing changes but ctime. */
function changedPosix(posix: FullPosix, change: SetAttributes, now: Timestamp, isDirectory: boolean): FullPosix {
  const timeOf = (time: Timestamp | 'now' | undefined, before: Timestamp): Timestamp =>
    time === undefined ? before : time === 'now' ? now : time;
  const owns = change.uid !== undefined || change.gid !== undefined;
  let mode = change.mode === undefined ? posix.mode : (posix.mode & S_IFMT) | (change.mode & 0o7777);
  // chown takes setuid and setgid from what is no directory (FUSE_HANDLE_KILLPRIV_V2 leaves that to us).
  if ((owns || change.killSuidgid) && change.mode === undefined && !isDirectory) mode = withoutSuidgid(mode);
  const uid = change.uid ?? posix.uid;
  const gid = change.gid ?? posix.gid;
  const atime = timeOf(change.atime, posix.atime);
  const mtime = timeOf(change.mtime, posix.mtime);
  const isSame =
    mode === posix.mode &&
    uid === posix.uid &&
    gid === posix.gid &&
    compareTimes(atime, posix.atime) === 0 &&
    compareTimes(mtime, posix.mtime) === 0;
  if (isSame) return posix;
  const based = mode !== posix.mode && posix.xattrs.has(ACL_ACCESS) ? withModeInAcl(posix, mode) : posix;
  return { ...based, mode, uid, gid, atime, mtime, ctime: change.ctime ?? now };
}
