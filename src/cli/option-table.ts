/**
 * The one table of options. From it come the words after `-o`, the `--flags`, the S3MOUNT_ environment, the help text and
 * the type of what the daemon is given. A new option is one entry here and its use in `mount.ts`.
 */
import { homedir } from 'node:os';
import { metricsAddress } from './metrics-address.ts';
import {
  bytes,
  choice,
  flag,
  group,
  integer,
  octal,
  optionalText,
  path,
  proxyAddress,
  seconds,
  sseKind,
  text,
  url,
  user,
  type ValueKind,
  words,
} from './option-values.ts';

export const SECTIONS = ['Access', 'S3', 'Freshness', 'Semantics', 'Resources', 'Daemon'] as const;

export interface OptionSpec<T = unknown> {
  readonly section: (typeof SECTIONS)[number];
  readonly kind: ValueKind<T>;
  /** One line for the help, without a full stop. */
  readonly help: string;
  /** Other names of the same option. */
  readonly aliases?: readonly string[];
  /** A single letter: `-f`. Only for options without a value. */
  readonly letter?: string;
  /** Stands on the first help screen. */
  readonly basic?: true;
  /** It is understood but changes nothing yet; the sentence is the warning, after "NAME ". */
  readonly noEffect?: string;
}

function option<T>(spec: OptionSpec<T>): OptionSpec<T> {
  return spec;
}

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const DAY = 86_400;

const access = {
  allow_other: option({
    section: 'Access',
    kind: flag,
    basic: true,
    help: 'other users may use the mount too (user_allow_other in /etc/fuse.conf)',
  }),
  ro: option({ section: 'Access', kind: flag, basic: true, help: 'read only' }),
  umask: option({
    section: 'Access',
    kind: octal(),
    basic: true,
    help: 'permissions of everything are 0777 without these bits, as s3fs has it',
  }),
  fmask: option({ section: 'Access', kind: octal(), help: 'the same for files only' }),
  dmask: option({ section: 'Access', kind: octal(), help: 'the same for directories only' }),
  uid: option({ section: 'Access', kind: user, basic: true, help: 'everything belongs to this user (number or name)' }),
  gid: option({
    section: 'Access',
    kind: group,
    basic: true,
    help: 'everything belongs to this group (number or name)',
  }),
  file_mode: option({ section: 'Access', kind: octal(), help: 'mode of objects that carry none (0640)' }),
  dir_mode: option({ section: 'Access', kind: octal(), help: 'mode of directories that carry none (0750)' }),
  mp_umask: option({ section: 'Access', kind: octal(), help: 'mode of the mount point is 0777 without these bits' }),
  nonempty: option({ section: 'Access', kind: flag, help: 'cover a mount point that is not empty' }),
} as const;

const s3 = {
  url: option({
    section: 'S3',
    kind: url,
    aliases: ['host'],
    basic: true,
    help: 'address of the S3 service (default: AWS)',
  }),
  region: option({
    section: 'S3',
    kind: text('REGION', /^[a-z0-9-]+$/, "a region's name, such as ap-northeast-2"),
    aliases: ['endpoint'],
    basic: true,
    help: 'region of the bucket (default: found out)',
  }),
  use_path_request_style: option({
    section: 'S3',
    kind: flag,
    basic: true,
    help: 'http://HOST/BUCKET/KEY instead of http://BUCKET.HOST/KEY',
  }),
  profile: option({
    section: 'S3',
    kind: text('NAME'),
    basic: true,
    help: 'profile of ~/.aws/config and ~/.aws/credentials',
  }),
  passwd_file: option({ section: 'S3', kind: path(homedir), basic: true, help: "credentials in s3fs's file format" }),
  iam_role: option({
    section: 'S3',
    kind: optionalText('auto|NAME', 'auto'),
    help: "credentials of the instance's role and no others (an instance has one, whatever its name)",
  }),
  ecs: option({ section: 'S3', kind: flag, help: "credentials of the container's role and no others" }),
  public_bucket: option({ section: 'S3', kind: flag, help: 'send no credentials' }),
  requester_pays: option({ section: 'S3', kind: flag, help: 'agree to pay for requests to this bucket' }),
  storage_class: option({
    section: 'S3',
    kind: choice(
      'standard',
      'standard_ia',
      'onezone_ia',
      'reduced_redundancy',
      'intelligent_tiering',
      'glacier',
      'glacier_ir',
      'deep_archive',
    ),
    help: 'storage class of what is written',
  }),
  use_sse: option({
    section: 'S3',
    kind: sseKind,
    help: 'encryption of what is written: by S3, by a key of KMS, or by keys of your own (SSE-C)',
  }),
  load_sse_c: option({
    section: 'S3',
    kind: path(homedir),
    help: 'file of keys of your own by which objects are read, a line each (mode 0600)',
  }),
  default_acl: option({
    section: 'S3',
    kind: choice(
      'private',
      'public-read',
      'public-read-write',
      'aws-exec-read',
      'authenticated-read',
      'bucket-owner-read',
      'bucket-owner-full-control',
      'log-delivery-write',
    ),
    help: 'canned ACL of what is written',
  }),
  proxy: option({
    section: 'S3',
    kind: proxyAddress,
    help: 'HTTP proxy for all requests (default: https_proxy, http_proxy; no_proxy excepts hosts)',
  }),
  proxy_cred_file: option({
    section: 'S3',
    kind: path(homedir),
    help: 'file with USER:PASSWORD for the proxy, for its owner only',
  }),
  dual_stack: option({
    section: 'S3',
    kind: flag,
    aliases: ['use_dualstack_endpoint'],
    help: "AWS's endpoints that answer by IPv6 too",
  }),
  fips: option({ section: 'S3', kind: flag, aliases: ['use_fips_endpoint'], help: "AWS's FIPS endpoints" }),
  transfer_acceleration: option({
    section: 'S3',
    kind: flag,
    aliases: ['use_accelerate_endpoint'],
    help: 'through the nearest edge location of AWS (the bucket must allow it)',
  }),
  ipresolve: option({
    section: 'S3',
    kind: words({ ipv4: 'ipv4', ipv6: 'ipv6', whatever: 'whatever' }),
    help: 'addresses of one kind only',
  }),
  no_check_certificate: option({
    section: 'S3',
    kind: flag,
    help: "do not check the server's certificate: whoever sits between may read and change all",
  }),
  ssl_verify_hostname: option({
    section: 'S3',
    kind: flag,
    help: "=0: the server's certificate need not name the host",
  }),
  ssl_client_cert: option({
    section: 'S3',
    kind: text('CERT[:PEM[:KEY[:PEM]]]'),
    help: 'certificate that this client shows, and its key (PEM files)',
  }),
  cipher_suites: option({ section: 'S3', kind: text('LIST'), help: "ciphers of TLS, in OpenSSL's words" }),
  enable_unsigned_payload: option({
    section: 'S3',
    kind: flag,
    help: 'over http the signature leaves out what is sent; =0: it covers it always (by default where no checksum guards it)',
  }),
  checksum: option({
    section: 'S3',
    kind: choice('all', 'write', 'none'),
    help: 'CRC32 of what: all = S3 compares and keeps that of what is written, and what is read through is compared with it (default), write = the former only',
  }),
  retries: option({ section: 'S3', kind: integer(1, 100, 8), help: 'attempts of a request before it fails (8)' }),
  connect_timeout: option({ section: 'S3', kind: seconds(0.1, 3600, 10), help: 'limit on connecting (10)' }),
  readwrite_timeout: option({ section: 'S3', kind: seconds(0.1, 3600, 30), help: 'limit on a silent connection (30)' }),
} as const;

const freshness = {
  stat_cache_expire: option({
    section: 'Freshness',
    kind: seconds(0, 365 * DAY, 10),
    help: "how late other clients' changes may be seen by stat and ls (10)",
  }),
  open_check: option({
    section: 'Freshness',
    kind: seconds(0, 365 * DAY, 1),
    help: 'open asks S3 unless it did less than this ago (1)',
  }),
} as const;

const semantics = {
  stat: option({
    section: 'Semantics',
    kind: choice('exact', 'list'),
    help: 'attributes: exact = stored with each object (a HEAD each), list = of listings',
  }),
  metadata: option({
    section: 'Semantics',
    kind: choice('s3fs', 'aws', 'both', 'none'),
    help: 'whose headers carry mode, owner and times when writing (s3fs)',
  }),
  link: option({
    section: 'Semantics',
    kind: choice('refuse', 'copy'),
    help: 'ln: refuse, or make an independent copy (refuse)',
  }),
  use_xattr: option({ section: 'Semantics', kind: flag, help: 'store extended attributes and ACLs (on; =0 for off)' }),
  ahbe_conf: option({
    section: 'Semantics',
    kind: path(homedir),
    help: "headers of written files by the end of their names, in s3fs's file format",
  }),
  mime: option({
    section: 'Semantics',
    kind: path(homedir),
    help: 'content types by suffix (/etc/mime.types)',
  }),
  indexers: option({
    section: 'Semantics',
    kind: choice('refuse', 'allow'),
    help: 'updatedb, plocate, baloo and tracker: kept from walking the bucket (refuse)',
  }),
  write_back: option({
    section: 'Semantics',
    kind: flag,
    help: 'close returns when the journal on disk has it, S3 follows; fsync waits for S3',
  }),
  journal_sync: option({
    section: 'Semantics',
    kind: choice('group', 'close'),
    help: 'with write_back: power cuts cost up to a second (group), or nothing and close waits for the disk (group)',
  }),
  bucket_size: option({
    section: 'Semantics',
    kind: bytes(1, 1, 2 ** 60, '100GB'),
    help: 'size and free space that df shows (64 PiB)',
  }),
} as const;

const resources = {
  memory: option({
    section: 'Resources',
    kind: bytes(MIB, 32 * MIB, 1024 * GIB, '256MiB'),
    help: "limit on cached and unsaved bytes (an eighth of the machine's, 64-256 MiB)",
  }),
  max_thread_count: option({
    section: 'Resources',
    kind: integer(1, 1024, 32),
    aliases: ['parallel_count', 'multireq_max', 'parallel_upload'],
    help: 'connections to S3 at once (256)',
  }),
  multipart_size: option({
    section: 'Resources',
    kind: bytes(MIB, 5 * MIB, 5 * GIB, '10'),
    help: 'size of the parts of an upload, in MB where no unit is given',
  }),
  keep_sent: option({
    section: 'Resources',
    kind: flag,
    help: 'keep sent parts in memory or on disk until their upload is complete',
  }),
  use_cache: option({
    section: 'Resources',
    kind: path(homedir),
    basic: true,
    help: 'keep blocks that were read or written in this local directory too; they are there after a restart',
  }),
  cache_size: option({
    section: 'Resources',
    kind: bytes(MIB, 128 * MIB, 2 ** 45, '20GiB'),
    help: 'the most that the cache on disk takes, of all mounts that share it (10 GiB, less on a small disk); without use_cache: in state_dir',
  }),
  ensure_diskfree: option({
    section: 'Resources',
    kind: bytes(MIB, 0, 2 ** 60, '2048'),
    help: 'what the cache leaves free on its disk, in MB where no unit is given (1 GiB on the disk of state_dir)',
  }),
  free_space_ratio: option({
    section: 'Resources',
    kind: integer(0, 99, 10),
    help: 'the same in percent of the disk (10, unless ensure_diskfree is given)',
  }),
  del_cache: option({ section: 'Resources', kind: flag, help: 'empty the cache on disk at the start and at the end' }),
  check_cache_dir_exist: option({
    section: 'Resources',
    kind: flag,
    help: 'refuse to mount if the directory of use_cache is missing, instead of making it',
  }),
  journal: option({
    section: 'Resources',
    kind: path(homedir),
    help: 'directory of the journal (journal/ in state_dir); where given, it also has what is written and not closed yet',
  }),
  journal_size: option({
    section: 'Resources',
    kind: bytes(MIB, 16 * MIB, 1024 * GIB, '1GiB'),
    help: 'limit on its bytes; when it is full writes wait for S3, then fail with ENOSPC (1 GiB, less on a small disk)',
  }),
  state_dir: option({
    section: 'Resources',
    kind: path(homedir),
    help: 'directory for logs, spooled bytes and the index of metadata (/var/lib/s3mount, ~/.local/state/s3mount)',
  }),
} as const;

const daemon = {
  config: option({
    section: 'Daemon',
    kind: path(homedir),
    help: 'configuration file (~/.config/s3mount/NAME.toml, /etc/s3mount/NAME.toml where NAME is mounted)',
  }),
  foreground: option({
    section: 'Daemon',
    kind: flag,
    letter: 'f',
    basic: true,
    help: 'stay in the foreground, log to the terminal',
  }),
  debug: option({ section: 'Daemon', kind: flag, letter: 'd', help: 'log every operation; same as dbglevel=dbg' }),
  single_thread: option({
    section: 'Daemon',
    kind: flag,
    letter: 's',
    help: "accepted for s3fs's sake",
    noEffect: 'changes nothing: the daemon always serves from one thread.',
  }),
  dbglevel: option({
    section: 'Daemon',
    kind: words({
      crit: 'fatal',
      critical: 'fatal',
      err: 'error',
      error: 'error',
      wan: 'warn',
      warn: 'warn',
      warning: 'warn',
      inf: 'info',
      info: 'info',
      dbg: 'debug',
      debug: 'debug',
    }),
    aliases: ['log_level'],
    help: 'how much is logged (info); crit, err, dbg are words too',
  }),
  logfile: option({
    section: 'Daemon',
    kind: path(homedir),
    help: 'where the daemon logs (default: in the state directory)',
  }),
  metrics: option({
    section: 'Daemon',
    kind: metricsAddress,
    help: 'serve Prometheus metrics on this port of 127.0.0.1, or on a socket (off)',
  }),
  spot_drain: option({
    section: 'Daemon',
    kind: flag,
    help: 'send what is unsaved when AWS announces the end of a Spot instance (on, on EC2)',
  }),
  binding: option({
    section: 'Daemon',
    kind: choice('dev-fuse', 'fuse-native'),
    help: 'how the kernel is spoken to: by ourselves, or by the package fuse-native, which you install (dev-fuse)',
  }),
  fsname: option({ section: 'Daemon', kind: text('NAME'), help: 'the source that df and mount show (the bucket)' }),
  subtype: option({
    section: 'Daemon',
    kind: text('NAME', /^[A-Za-z0-9._-]+$/, 'a name of letters and digits'),
    help: 'type in /proc/mounts after "fuse." (s3mount)',
  }),
} as const;

export const OPTIONS = { ...access, ...s3, ...freshness, ...semantics, ...resources, ...daemon } as const;

export type OptionName = keyof typeof OPTIONS;

type ValueOf<S> = S extends OptionSpec<infer T> ? T : never;

/** What was given, read and checked; an absent field was not given anywhere. */
export type OptionValues = { readonly [K in OptionName]?: ValueOf<(typeof OPTIONS)[K]> };

export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];

/** The table's entry without its particular value type: for code that treats all options alike. */
export function specOf(name: OptionName): OptionSpec {
  return OPTIONS[name];
}

/** Every spelling of a mount word, aliases included, with the option that it means. */
export const OPTION_OF_WORD: ReadonlyMap<string, OptionName> = new Map(
  OPTION_NAMES.flatMap(name => [name, ...(specOf(name).aliases ?? [])].map(word => [word, name] as const)),
);

/** `use_path_request_style` → `use-path-request-style`. */
export function flagName(word: string): string {
  return word.replaceAll('_', '-');
}

/** `umask` → `S3MOUNT_UMASK`. */
export function environmentName(name: OptionName): string {
  return `S3MOUNT_${name.toUpperCase()}`;
}
