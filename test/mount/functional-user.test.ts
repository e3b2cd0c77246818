/**
 * The functional tests as an ordinary user, mounted by fusermount3. The whole test runs as that user, not only the daemon:
 * nobody but the one who mounts may look into the mount, not even root.
 */
import { chmodSync, chownSync, mkdtempSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { withEnvironment } from '../support/processes.ts';

const NOBODY = 65534;
const DEVICE = '/dev/fuse';
const SCRIPT = fileURLToPath(new URL('../functional/run.ts', import.meta.url));

const isRoot = process.getuid!() === 0;
let directory = tmpdir();
let as: string[] = [];
if (isRoot) {
  as = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
  directory = mkdtempSync(join(directory, 's3mount-nobody-'));
  chownSync(directory, NOBODY, NOBODY);
  // Every distribution lets everybody open the device; a container may not.
  const mode = statSync(DEVICE).mode & 0o777;
  if ((mode & 0o666) !== 0o666) {
    chmodSync(DEVICE, 0o666);
    t.teardown(() => chmodSync(DEVICE, mode));
  }
}

await t.spawn(
  'env',
  [
    // Without what tap tells its own children: they would write into the checkout, which is not this user's.
    ...withEnvironment({ PATH: process.env['PATH'], TMPDIR: directory, HOME: directory }),
    ...as,
    process.execPath,
    `--import=${import.meta.resolve('tsx')}`,
    SCRIPT,
  ],
  'functional tests as an ordinary user',
);
