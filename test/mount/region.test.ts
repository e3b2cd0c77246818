/**
 * `s3mount victor-seoul DIR` with neither url= nor region=: in a network and mount namespace whose /etc/hosts sends AWS's
 * names to the embedded server, which speaks TLS on port 443 and plays regions.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { withEnvironment } from '../support/processes.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const NAMES = ['s3.amazonaws.com', 's3.ap-northeast-2.amazonaws.com', 'victor-seoul.s3.ap-northeast-2.amazonaws.com'];

/** `$1` a directory for hosts and CA; `$2` … Node with tsx; then the server, the loopback, the tests. */
const SCRIPT = `
set -e
mount --bind "$1/hosts" /etc/hosts
"$2" "$3" "$5"
"$2" "$3" "$4" --port=443 --tls --ca-file="$1/ca.pem" --region=us-east-1 --bucket=victor-seoul=ap-northeast-2 \\
  --key=EMBEDDEDKEY:embeddedsecret ${NAMES.map(name => `--host-name=${name}`).join(' ')} > "$1/server.out" &
server=$!
trap 'kill $server' EXIT
for i in $(seq 200); do [ -s "$1/server.out" ] && break; sleep 0.05; done
NODE_EXTRA_CA_CERTS="$1/ca.pem" "$2" "$3" "$6"
`;

const directory = mkdtempSync(join(tmpdir(), 's3mount-region-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));
writeFileSync(join(directory, 'hosts'), `127.0.0.1 localhost ${NAMES.join(' ')}\n`);

await t.spawn(
  'env',
  [
    ...withEnvironment({ PATH: `${process.env['PATH']}:/usr/sbin:/sbin`, TMPDIR: tmpdir(), HOME: directory }),
    'unshare',
    // An ordinary user becomes root of a user namespace; root needs none.
    ...(process.getuid!() === 0 ? [] : ['--map-root-user']),
    '--net',
    '--mount',
    'sh',
    '-c',
    SCRIPT,
    'sh',
    directory,
    process.execPath,
    `--import=${import.meta.resolve('tsx')}`,
    file('../../src/embedded-s3/main.ts'),
    file('../support/loopback-up.ts'),
    file('../functional/run-region.ts'),
  ],
  'in a namespace where AWS is the embedded server',
);
