/**
 * Words that stand in people's fstabs and scripts for mount(8), libfuse or s3fs and are no options of ours.
 *
 * Nothing that was written for s3fs should fail to mount because of a word that no longer matters; but a word that is
 * taken and then does nothing is told, or its author believes in it.
 */
import { isMountWord } from '../fuse/mount-options.ts';

/** mount(8) and systemd have acted on these before we are called. */
const FSTAB =
  /^(rw|defaults|_netdev|nofail|auto|noauto|owner|group|users?|nousers?|[xX]-[A-Za-z0-9._-]+|comment|_rnetdev|loop)$/;

/** What libfuse would do and our own binding does by itself or does not need: name → why it may be left out. */
const LIBFUSE: Readonly<Record<string, string>> = {
  default_permissions: 'is always on',
  big_writes: 'is always on',
  auto_unmount: 'is not needed: a mount left by a killed daemon is cleaned at the next start',
  entry_timeout: 'is ruled by stat_cache_expire',
  attr_timeout: 'is ruled by stat_cache_expire',
  negative_timeout: 'is ruled by stat_cache_expire',
  ac_attr_timeout: 'is ruled by stat_cache_expire',
  kernel_cache: 'is not needed: pages stay cached while the object is unchanged',
  auto_cache: 'is not needed: pages stay cached while the object is unchanged',
  direct_io: 'is not offered: it would break mmap',
  noforget: 'is not needed',
  remember: 'is not needed',
  max_read: 'is settled with the kernel',
  max_write: 'is settled with the kernel',
  max_readahead: 'is settled with the kernel',
  max_background: 'is settled with the kernel',
  congestion_threshold: 'is settled with the kernel',
  async_read: 'is always on',
  sync_read: 'is not offered',
  large_read: 'is always on',
  splice_read: 'is not needed',
  splice_write: 'is not needed',
  splice_move: 'is not needed',
  no_splice_read: 'is not needed',
  no_splice_write: 'is not needed',
  no_splice_move: 'is not needed',
  clone_fd: 'is always on',
  max_idle_threads: 'is not needed',
  max_threads: 'is not needed',
  use_ino: 'is always on',
  readdir_ino: 'is always on',
  hard_remove: 'is always so: no .fuse_hidden files are made',
  intr: 'is always on',
  intr_signal: 'is not needed',
  modules: 'is not offered',
  lazytime: 'is not offered',
  blkdev: 'is not offered',
  allow_root: 'is not offered; allow_other lets root and everybody in',
  fuseblk: 'is not offered',
};

/** s3fs's words that have lost their meaning, and why. */
const OBSOLETE: Readonly<Record<string, string>> = {
  nocopyapi: 'changes nothing: server-side copies are used where the store has them',
  norenameapi: 'changes nothing: server-side copies are used where the store has them',
  nomixupload: 'changes nothing: server-side copies are used where the store has them',
  nomultipart: 'changes nothing: files above the part size are always sent in parts',
  complement_stat: 'changes nothing: objects without a mode always get one',
  notsup_compat_dir: 'changes nothing: all kinds of directory markers are read',
  compat_dir: 'changes nothing: all kinds of directory markers are read',
  f2: 'changes nothing',
  noxmlns: 'changes nothing',
  fd_page_size: 'changes nothing',
  sigv4: 'changes nothing: requests are always signed with version 4',
  listobjectsv2: 'is always on',
  list_object_max_keys: 'changes nothing: listings ask for 1,000 keys at a time',
  enable_content_md5: 'changes nothing: what is sent is verified by other checksums',
  noua: 'changes nothing',
  nodnscache: 'changes nothing',
  nosscache: 'changes nothing',
  no_time_stamp_msg: 'changes nothing',
  use_wtf8: 'changes nothing: names are UTF-8',
  enable_noobj_cache: 'is always on',
  enable_negative_cache: 'is always on',
  disable_noobj_cache: 'changes nothing; stat_cache_expire=0 asks S3 each time',
  disable_negative_cache: 'changes nothing; stat_cache_expire=0 asks S3 each time',
  stat_cache_interval_expire: 'changes nothing; use stat_cache_expire',
  max_stat_cache_size: 'changes nothing: the memory limit rules it',
  multipart_threshold: 'changes nothing: it follows multipart_size',
  multipart_copy_size: 'changes nothing: it is chosen by the size of the file',
  singlepart_copy_limit: 'changes nothing: it is chosen by the size of the file',
  putheader_mp_threshold: 'changes nothing: it is chosen by the size of the file',
  streamupload: 'changes nothing: parts are always sent while a file is written',
  max_dirty_data: 'changes nothing: the memory limit rules it',
  update_parent_dir_stat: 'changes nothing yet',
  set_check_cache_sigusr1: 'changes nothing: there is no such cache to check',
  curldbg: 'changes nothing; use dbglevel=dbg',
  imdsv1only: 'changes nothing: version 2 of the metadata service is always used',
  use_session_token: 'changes nothing: a session token is used where there is one',
  instance_name: 'changes nothing',
  fake_diskfree: 'changes nothing; use bucket_size',
  tmpdir: 'changes nothing: what does not fit into memory is spooled to state_dir',
  servicepath: 'changes nothing; write the whole address as url=',
};

/** What would silently change what is stored or who may see it, had it no effect: refused until it has one. */
const REFUSED: Readonly<Record<string, string>> = {
  accessKeyId:
    'is refused: everybody on this machine sees command lines; put keys into ~/.aws/credentials or passwd_file=.',
  secretAccessKey:
    'is refused: everybody on this machine sees command lines; put keys into ~/.aws/credentials or passwd_file=.',
  sigv2: 'is not supported: signatures of version 2 are obsolete; leave it out.',
  credlib: 'is not supported: credentials come from files, the environment, profiles and roles.',
  credlib_opts: 'is not supported: credentials come from files, the environment, profiles and roles.',
  ibm_iam_auth: 'is not supported; use HMAC keys of the service.',
  ibm_iam_endpoint: 'is not supported; use HMAC keys of the service.',
  insecure_logging: 'is refused: secrets are never logged.',
};

/** Old words for an option of ours with one value. */
const MEANS: Readonly<Record<string, string>> = { use_rrs: 'storage_class=reduced_redundancy' };

export type LegacyWord =
  /** As if this word of the table stood there. */
  | { readonly kind: 'means'; readonly word: string }
  | { readonly kind: 'kernel' }
  | { readonly kind: 'silent' }
  | { readonly kind: 'warning'; readonly message: string }
  | { readonly kind: 'refused'; readonly message: string };

/** What to do about a word that is not in the table; undefined if nobody knows it. */
export function legacyWord(name: string): LegacyWord | undefined {
  if (FSTAB.test(name)) return { kind: 'silent' };
  if (isMountWord(name)) return { kind: 'kernel' };
  const means = own(MEANS, name);
  if (means) return { kind: 'means', word: means };
  const refused = own(REFUSED, name);
  if (refused) return { kind: 'refused', message: `${name} ${refused}` };
  const libfuse = own(LIBFUSE, name);
  if (libfuse) return { kind: 'warning', message: `${name} ${libfuse}; it is ignored.` };
  const obsolete = own(OBSOLETE, name);
  if (obsolete) return { kind: 'warning', message: `${name} ${obsolete}.` };
  return undefined;
}

function own(table: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** All of them, for the search of the nearest name. */
export const LEGACY_NAMES: readonly string[] = [
  'nosuid',
  'nodev',
  'noexec',
  'noatime',
  ...Object.keys(LIBFUSE),
  ...Object.keys(OBSOLETE),
  ...Object.keys(MEANS),
  'rw',
  'defaults',
  '_netdev',
  'nofail',
  'noauto',
];

/** Words that end the command with a sentence: for the documentation. */
export const REFUSED_NAMES: readonly string[] = Object.keys(REFUSED);
