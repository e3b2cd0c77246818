/**
 * `user.s3mount.NAME`: what S3 has of a file, to be read by name (`getfattr -n user.s3mount.etag FILE`). They are not listed, so
 * that nothing copies them, and not stored. `user.s3mount.restore` can be set: that brings an object out of its archive.
 */
import { FsError } from '../errors.ts';
import type { ObjectInfo } from '../s3/store.ts';
import { archiveState, archiveText, parseRestore, restoreObject } from './archives.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode } from './inode.ts';

const PREFIX = 'user.s3mount.';

export function isVirtualXattr(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** What needs no request. Undefined: there is no such thing of this inode. */
const KNOWN_HERE: Readonly<Record<string, (inode: Inode, options: Environment['options']) => string | undefined>> = {
  key: (inode, { address }) => `${address?.prefix ?? ''}${inode.key}`,
  uri: (inode, { address }) => address && `s3://${address.bucket}/${address.prefix}${inode.key}`,
  /** Bytes that S3 does not have yet. */
  unsaved: inode => String(inode instanceof FileInode ? (inode.content?.unsavedBytes ?? 0) : 0),
};

/** What a HEAD tells, asked anew each time. */
const ASKED: Readonly<Record<string, (info: ObjectInfo) => string | undefined>> = {
  etag: ({ etag }) => etag.replace(/^"(.*)"$/, '$1'),
  size: ({ size }) => String(size),
  last_modified: ({ lastModified }) => new Date(lastModified).toISOString(),
  version_id: ({ versionId }) => versionId,
  // S3 names it only where it is another.
  storage_class: ({ description }) => description.storageClass ?? 'STANDARD',
  content_type: ({ description }) => description.headers.contentType,
  encryption: ({ description }) => description.encryption?.algorithm,
  kms_key_id: ({ description }) => description.encryption?.kmsKeyId,
  tag_count: ({ tagCount }) => String(tagCount),
  restore: info => archiveText(archiveState(info)),
};

/** The names after the prefix. */
export const VIRTUAL_XATTRS: readonly string[] = [...Object.keys(KNOWN_HERE), ...Object.keys(ASKED)];

export class VirtualXattrs {
  readonly #environment: Environment;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Fails with ENODATA for what there is not, of a file that S3 does not have among others. */
  async get(inode: Inode, name: string, signal: AbortSignal): Promise<Uint8Array> {
    const word = name.slice(PREFIX.length);
    const { store, options } = this.#environment;
    let value: string | undefined;
    if (Object.hasOwn(KNOWN_HERE, word)) value = KNOWN_HERE[word]!(inode, options);
    else if (Object.hasOwn(ASKED, word)) {
      if (inode instanceof DirectoryInode || !inode.stored)
        throw new FsError('ENODATA', `S3 has no object of ${inode.label}`);
      value = ASKED[word]!(await store.head(inode.stored.version.key, { signal }));
    }
    if (value === undefined) throw new FsError('ENODATA', name);
    return Buffer.from(value);
  }

  async set(inode: Inode, name: string, value: Uint8Array): Promise<void> {
    if (name !== `${PREFIX}restore`) throw new FsError('EPERM', `${name} tells what S3 has and cannot be set`);
    const wish = parseRestore(Buffer.from(value).toString());
    if (!wish) throw new FsError('EINVAL', 'write days, such as 7d, and where wanted how fast: 7d:Bulk, 7d:Expedited');
    if (!(inode instanceof FileInode) || !inode.stored)
      throw new FsError('EINVAL', `S3 has no object of ${inode.label}`);
    const { store, telemetry } = this.#environment;
    const { key } = inode.stored.version;
    const found = await restoreObject(store, key, wish.days, wish.tier);
    telemetry.log.info({ key, days: wish.days, tier: wish.tier }, `restore from the archive: ${archiveText(found)}`);
  }
}
