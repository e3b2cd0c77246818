/** From the options that were given to what the filesystem and the kernel are told. Pure, but for the file that ahbe_conf names. */
import { UPLOAD_SIZES, type UploadSizes } from '../cache/upload-plan.ts';
import type { FileSystemOptions } from '../fs/options.ts';
import type { MountOptions } from '../fuse/ops.ts';
import { readHeaderRules } from './header-rules.ts';
import type { OptionValues } from './option-table.ts';
import type { Config } from './options.ts';

/** 10 s: other people's changes are seen soon, and an `ls -l` after an `ls` costs nothing. s3fs's 900 s hide them. */
const DEFAULT_TTL = 10_000;
/** 1 s: programs that open a file several times in a row ask once. */
const DEFAULT_OPEN_CHECK = 1_000;
/** 64 PiB, what s3fs shows. */
const DEFAULT_BUCKET_SIZE = 2 ** 56;

export interface Mounter {
  readonly uid: number;
  readonly gid: number;
  readonly hostname: string;
}

export function fileSystemOptions(values: OptionValues, mounter: Mounter): FileSystemOptions {
  return {
    readOnly: values.ro ?? false,
    allowOther: values.allow_other ?? false,
    mounterUid: mounter.uid,
    mounterGid: mounter.gid,
    ...present({
      uid: values.uid,
      gid: values.gid,
      umask: values.umask,
      fmask: values.fmask,
      dmask: values.dmask,
      fileMode: values.file_mode,
      dirMode: values.dir_mode,
      mountPointUmask: values.mp_umask,
    }),
    stat: values.stat ?? 'exact',
    metadata: values.metadata ?? 's3fs',
    ttl: values.stat_cache_expire ?? DEFAULT_TTL,
    openCheck: values.open_check ?? DEFAULT_OPEN_CHECK,
    link: values.link ?? 'refuse',
    xattr: values.use_xattr ?? true,
    bucketSize: values.bucket_size ?? DEFAULT_BUCKET_SIZE,
    indexers: values.indexers ?? 'refuse',
    ...(values.ahbe_conf === undefined ? {} : { objectHeaders: readHeaderRules(values.ahbe_conf) }),
    hostname: mounter.hostname,
  };
}

export function kernelMountOptions(config: Config, mountPoint: string): MountOptions {
  const { values } = config;
  return {
    mountPoint,
    fsname: values.fsname ?? (config.prefix === '' ? config.bucket : `${config.bucket}:/${config.prefix.slice(0, -1)}`),
    subtype: values.subtype ?? 's3mount',
    readOnly: values.ro ?? false,
    allowOther: values.allow_other ?? false,
    defaultPermissions: true,
    kernelOptions: config.kernelOptions,
    posixAcl: storesAcls(values),
  };
}

/** ACLs are stored as extended attributes, and make sense only where each object has its own mode and owner. */
function storesAcls({ use_xattr, umask, fmask, dmask, uid, gid }: OptionValues): boolean {
  return use_xattr !== false && [umask, fmask, dmask, uid, gid].every(value => value === undefined);
}

export function uploadSizes(values: OptionValues): UploadSizes {
  const part = values.multipart_size;
  if (part === undefined) return UPLOAD_SIZES;
  return { ...UPLOAD_SIZES, part, singlePut: Math.max(UPLOAD_SIZES.singlePut, part) };
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the fields that are undefined. */
export function present<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}
