/**
 * Each option of the table has a test that shows what it does, not only how it is read: here it stands which. The test must
 * be there, and speak of the option.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { OPTION_NAMES, type OptionName, specOf } from '../../src/cli/option-table.ts';

/** File below test/, title, and the option's name there, where it goes by another below the command line. */
type Shown = readonly [file: string, title: string, word?: string];

const REQUESTS = 'unit/cli-option-requests.test.ts';
const MOUNT = 'mount/option-effects.test.ts';
const TLS = 'unit/s3-tls.test.ts';
const CREDENTIALS = 'unit/cli-credential-sources.test.ts';
const ENDPOINTS = 'unit/s3-endpoint-variants.test.ts';
const CACHE: Shown = [MOUNT, 'use_cache, ensure_diskfree, free_space_ratio, del_cache, check_cache_dir_exist'];
const JOURNAL: Shown = [MOUNT, 'journal and journal_size: where it lies, and that close waits for S3 when it is full'];
const OWNERS: Shown = ['mount/options.test.ts', 'umask, uid and gid as s3fs has them'];
const MODES: Shown = [MOUNT, 'file_mode, dir_mode, fsname, subtype, multipart_size'];
const WRITTEN_WITH: Shown = [REQUESTS, 'storage_class= and default_acl= go with whatever makes an object'];
const GUARDS: Shown = [REQUESTS, 'checksum= and enable_unsigned_payload: what guards the bytes that are sent'];
const PAYERS: Shown = [REQUESTS, 'requester_pays and public_bucket'];
const PROXIES: Shown = [REQUESTS, 'proxy= and proxy_cred_file=: the way of all requests, and who asks for it'];
const SENDING: Shown = [REQUESTS, 'retries= is how often a request is sent, max_thread_count= how many at once'];
const PATHS: Shown = [REQUESTS, 'use_path_request_style, and without it another host for each bucket'];
const BY_OPTIONS: Shown = [ENDPOINTS, 'by options, and by the variables of the AWS CLI'];
const STORED: Shown = ['mount/invocation.test.ts', 's3mount NAME: all from ~/.config/s3mount/NAME.toml, mime= and all'];
const SIGNALS: Shown = [
  'mount/signals.test.ts',
  'SIGHUP opens the log anew, SIGUSR2 cycles its level, SIGUSR1 writes the status',
];

/** Absent: the table itself says that it changes nothing. */
const EFFECTS: Readonly<Partial<Record<OptionName, Shown>>> = {
  allow_other: [MOUNT, 'allow_other: the programs of other users come in, or they do not'],
  ro: ['mount/options.test.ts', 'ro: EROFS for every change'],
  umask: OWNERS,
  fmask: ['semantics/metadata.test.ts', 'M2 what has none'],
  dmask: ['semantics/metadata.test.ts', 'M2 what has none'],
  uid: OWNERS,
  gid: OWNERS,
  file_mode: MODES,
  dir_mode: MODES,
  mp_umask: ['interop/s3fs.test.ts', 'options about owner and mode give what they give with s3fs'],
  nonempty: ['mount/cli-life.test.ts', 'not empty: only with nonempty, and then covered'],
  url: PATHS,
  region: [REQUESTS, 'region= is what requests are signed for'],
  use_path_request_style: PATHS,
  profile: [CREDENTIALS, 'profile=, and AWS_PROFILE'],
  passwd_file: [CREDENTIALS, 'passwd_file= goes before all, and its line for the bucket before its default'],
  iam_role: [CREDENTIALS, 'the role of an instance (IMDSv2), whose service may be slow at boot'],
  ecs: [CREDENTIALS, 'the role of a container (ECS, EKS Pod Identity)'],
  public_bucket: PAYERS,
  requester_pays: PAYERS,
  storage_class: WRITTEN_WITH,
  use_sse: [REQUESTS, 'use_sse=1, kmsid and kmsid:ID: by whom objects are encrypted'],
  load_sse_c: [REQUESTS, 'use_sse=custom:FILE seals, load_sse_c=FILE opens what others sealed'],
  default_acl: WRITTEN_WITH,
  proxy: PROXIES,
  proxy_cred_file: PROXIES,
  dual_stack: BY_OPTIONS,
  fips: BY_OPTIONS,
  transfer_acceleration: BY_OPTIONS,
  ipresolve: [TLS, 'addresses of one kind only'],
  no_check_certificate: [TLS, 'a certificate that nobody vouches for'],
  ssl_verify_hostname: [TLS, 'a certificate that names another host'],
  ssl_client_cert: [TLS, 'our own certificate, its key in a file of its own or in the same'],
  cipher_suites: [TLS, 'ciphers'],
  enable_unsigned_payload: GUARDS,
  checksum: GUARDS,
  retries: SENDING,
  connect_timeout: [REQUESTS, 'connect_timeout= ends a connection that does not come about'],
  readwrite_timeout: [REQUESTS, 'readwrite_timeout= ends what is silent'],
  stat_cache_expire: ['mount/foreign-changes.test.ts', 'stat and ls after the TTL'],
  open_check: ['semantics/clients.test.ts', 'C2 open'],
  stat: ['semantics/metadata.test.ts', 'M12 stat=list'],
  metadata: ['semantics/metadata.test.ts', 'M13 whose headers are written'],
  link: ['semantics/names-change.test.ts', 'L2 link=copy'],
  use_xattr: ['semantics/operations.test.ts', 'M15 attributes of what S3 has, by name'],
  ahbe_conf: STORED,
  mime: STORED,
  indexers: ['mount/archives.test.ts', 'updatedb is kept out, find is not; indexers=allow lets it'],
  write_back: [
    'mount/write-back.test.ts',
    'killed at any moment: what close, rename and unlink have answered is there',
  ],
  journal_sync: [
    'unit/cache-journal.test.ts',
    'power cut: after every prefix of a history all that was promised is found, in order',
    "sync: 'close'",
  ],
  bucket_size: ['mount/options.test.ts', 'df shows a size'],
  memory: [MOUNT, 'memory, state_dir, debug'],
  max_thread_count: SENDING,
  multipart_size: MODES,
  keep_sent: ['unit/cache-sent-ranges.test.ts', 'what may not be let go of goes to the spool', 'keepSent'],
  use_cache: CACHE,
  cache_size: CACHE,
  ensure_diskfree: CACHE,
  free_space_ratio: CACHE,
  del_cache: CACHE,
  check_cache_dir_exist: CACHE,
  journal: JOURNAL,
  journal_size: JOURNAL,
  state_dir: [MOUNT, 'memory, state_dir, debug'],
  config: ['unit/cli-config-file.test.ts', 'config= names one, and the daemon reads the same'],
  foreground: ['mount/cli-life.test.ts', `\${signal} in the foreground`],
  debug: [MOUNT, 'memory, state_dir, debug'],
  dbglevel: SIGNALS,
  logfile: SIGNALS,
  metrics: ['mount/signals.test.ts', 'metrics of a mount'],
  spot_drain: ['mount/spot.test.ts', 'what is written after the notice is in S3 before anybody closes it'],
  binding: ['bindings/fuse-native.test.ts', 'who asks is not known: all that is made belongs to the mounter'],
  fsname: MODES,
  subtype: MODES,
};

const directory = fileURLToPath(new URL('..', import.meta.url));

/** The test with that title, title and all; undefined if there is none. */
function testOf([file, title]: Shown): string | undefined {
  const text = readFileSync(`${directory}${file}`, 'utf8');
  const begin = [`'${title}'`, `"${title}"`, `\`${title}\``]
    .map(quoted => text.search(new RegExp(`^(?:  )?(?:await )?t\\.test\\(${escaped(quoted)}`, 'm')))
    .find(at => at >= 0);
  if (begin === undefined) return undefined;
  const next = text.slice(begin + 1).search(/^(?:await )?t\.test\(/m);
  return next < 0 ? text.slice(begin) : text.slice(begin, begin + 1 + next);
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

t.test('each option has one, and it is there', async t => {
  for (const name of OPTION_NAMES) {
    const shown = EFFECTS[name];
    if (!shown) {
      t.ok(specOf(name).noEffect, `${name} has an effect: which test shows it?`);
      continue;
    }
    const test = testOf(shown);
    if (test === undefined) t.fail(`${name}: ${shown[0]} has no test "${shown[1]}"`);
    else t.ok(test.includes(shown[2] ?? name), `${name}: "${shown[1]}" speaks of it`);
  }
});
