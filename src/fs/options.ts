import type { ObjectDescription } from '../s3/store.ts';

/** What the filesystem layer is told by whoever composes the mount. Times in ms; ids as numbers. */
export interface FileSystemOptions {
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  /** uid and gid of the mounting user: owner of what has no metadata. */
  readonly mounterUid: number;
  readonly mounterGid: number;
  /** `uid=`, `gid=`: override the owner of every inode. */
  readonly uid?: number;
  readonly gid?: number;
  /** `umask=`: every inode's permissions are 0777 & ~umask, as libfuse does it for s3fs. */
  readonly umask?: number;
  /** `fmask=`, `dmask=`: the same for files and directories apart. */
  readonly fmask?: number;
  readonly dmask?: number;
  /** `file_mode=`, `dir_mode=`: permissions of objects without metadata (default 0640, 0750). */
  readonly fileMode?: number;
  readonly dirMode?: number;
  /** `mp_umask=`: for the root directory, where it has no stored mode. */
  readonly mountPointUmask?: number;
  /** `stat=exact`: POSIX metadata of each object (one HEAD per version ever); `list`: what the listing tells. */
  readonly stat: 'exact' | 'list';
  /** Whose metadata headers are written. */
  readonly metadata: 's3fs' | 'aws' | 'both' | 'none';
  /** `stat_cache_expire`: how long attributes, entries, listings and negative entries hold. */
  readonly ttl: number;
  /** `open_check`: an open checks the object's version unless that was done less than this ago. */
  readonly openCheck: number;
  /** `link=copy`: link(2) makes an independent copy on the server; `refuse`: EPERM… see SEMANTICS. */
  readonly link: 'refuse' | 'copy';
  /** `use_xattr`: extended attributes are stored. */
  readonly xattr: boolean;
  /** Free bytes that statfs shows; total is the same. */
  readonly bucketSize: number;
  /** Where keys lead outside of this mount, for people: the bucket, and what stands before every key. */
  readonly address?: { readonly bucket: string; readonly prefix: string };
  /** `indexers=allow`: programs that index whole disks may walk the bucket. */
  readonly indexers?: 'refuse' | 'allow';
  /** `ahbe_conf`: headers and metadata that a file of this path is to have, beside or instead of its own. */
  readonly objectHeaders?: ObjectHeaders;
  /** Stands in the names of conflict copies. */
  readonly hostname: string;
}

export type ObjectHeaders = (path: string) => Pick<ObjectDescription, 'headers' | 'metadata'>;
