/**
 * A process for which AWS is the embedded server: in a network of its own in which AWS's names lead to the loopback, where the
 * server speaks TLS on port 443 and plays regions. `victor-seoul` lies in ap-northeast-2, everything else in us-east-1.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { withEnvironment } from './processes.ts';
import type { S3Access } from './s3-client.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const SEOUL = 'victor-seoul';
const NAMES = ['s3.amazonaws.com', 's3.ap-northeast-2.amazonaws.com', `${SEOUL}.s3.ap-northeast-2.amazonaws.com`];
const KEYS = { accessKeyId: 'EMBEDDEDKEY', secretAccessKey: 'embeddedsecret' };

/** What another client uses, asked in the process that was started; the mounts there are told none of it. */
export function seoulAccess(): S3Access {
  return {
    ...KEYS,
    url: 'https://s3.ap-northeast-2.amazonaws.com',
    region: 'ap-northeast-2',
    caFile: process.env['NODE_EXTRA_CA_CERTS']!,
  };
}

/** `$1` a directory for files and CA; `$2` … Node with tsx; then the server, the loopback, the tests. */
const SCRIPT = `
set -e
for place in "$1"/over/*; do
  mount --bind "$place" "/etc/\${place##*/}"
done
"$2" "$3" "$5"
mkfifo "$1/url"
"$2" "$3" "$4" --port=443 --tls --ca-file="$1/ca.pem" --region=us-east-1 --bucket=${SEOUL}=ap-northeast-2 \\
  --key=${KEYS.accessKeyId}:${KEYS.secretAccessKey} ${NAMES.map(name => `--host-name=${name}`).join(' ')} > "$1/url" &
server=$!
# What root has made nobody else can remove.
trap 'kill $server; rm -rf --one-file-system "$1/tmp"' EXIT
# Its address, or the end of the file where it has died: that ends this script.
exec 3< "$1/url"
read -r url <&3
NODE_EXTRA_CA_CERTS="$1/ca.pem" "$2" "$3" "$6" 3<&-
`;

export interface InsideAws {
  /** The script, which prints TAP. */
  readonly script: string;
  /** Files of /etc by name, as this process alone sees them. */
  readonly etc?: Readonly<Record<string, string>>;
  /** More of unshare(1). */
  readonly unshare?: readonly string[];
  /** As root, by sudo if need be; else root of a user namespace is enough. */
  readonly root?: boolean;
}

/** Runs the script as a test of `t`. */
export async function insideAws(t: Test, title: string, options: InsideAws): Promise<void> {
  const { script, etc = {}, unshare = [], root } = options;
  const isRoot = process.getuid!() === 0;
  const directory = mkdtempSync(join(tmpdir(), 's3mount-region-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  // Its CA is for every user in there.
  chmodSync(directory, 0o755);
  for (const name of ['over', 'tmp']) mkdirSync(join(directory, name));
  for (const [name, text] of Object.entries({ hosts: `127.0.0.1 localhost ${NAMES.join(' ')}\n`, ...etc })) {
    writeFileSync(join(directory, 'over', name), text);
  }
  const environment = withEnvironment({
    PATH: `${process.env['PATH']}:/usr/sbin:/sbin`,
    TMPDIR: join(directory, 'tmp'),
    HOME: join(directory, 'tmp'),
    STORY: process.env['STORY'],
  });
  const bySudo = root === true && !isRoot;
  const [program, ...args] = [
    ...(bySudo ? ['sudo', '-n'] : []),
    'env',
    ...environment,
    'unshare',
    // An ordinary user becomes root of a user namespace; root needs none.
    ...(isRoot || bySudo ? [] : ['--map-root-user']),
    '--net',
    '--mount',
    ...unshare,
    'sh',
    '-c',
    SCRIPT,
    'sh',
    directory,
    process.execPath,
    `--import=${import.meta.resolve('tsx')}`,
    file('../../src/embedded-s3/main.ts'),
    file('./loopback-up.ts'),
    script,
  ];
  await t.spawn(program!, args, title);
}
