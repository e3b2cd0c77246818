/** A package that is upgraded or removed under a live mount: once the mount answers, nothing is read from it any more. */
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { aMount, eventually } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { getxattr, setxattr } from '../support/syscalls.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MIB = 1024 * 1024;

t.test('every operation goes on after the installation is gone', async t => {
  const installation = mkdtempSync(join(tmpdir(), 's3mount-installation-'));
  t.teardown(() => rmSync(installation, { recursive: true, force: true }));
  for (const name of ['bin', 'dist', 'package.json', 'node_modules/koffi', 'node_modules/@koromix']) {
    cpSync(join(ROOT, name), join(installation, name), { recursive: true, dereference: true });
  }
  const mount = await aMount(t, { program: [join(installation, 'bin/s3mount')], options: 'dbglevel=debug' });
  t.ok(await eventually(() => mount.log().includes('all of the program is loaded')));
  rmSync(installation, { recursive: true });

  mkdirSync(mount.path('d'));
  writeFileSync(mount.path('d/small'), 'small');
  // Sent in parts, then changed by a copy on the server: the rarer requests, which the SDK makes.
  const large = patternBytes(40 * MIB, 7);
  writeFileSync(mount.path('d/large'), large);
  appendFileSync(mount.path('d/large'), 'end');
  truncateSync(mount.path('d/large'), 30 * MIB);
  t.ok(readFileSync(mount.path('d/large')).equals(large.subarray(0, 30 * MIB)));
  chmodSync(mount.path('d/small'), 0o600);
  utimesSync(mount.path('d/small'), 1, 2);
  symlinkSync('small', mount.path('d/link'));
  setxattr(mount.path('d/small'), 'user.note', Buffer.from('kept'));
  t.equal(String(getxattr(mount.path('d/small'), 'user.note').value), 'kept');
  renameSync(mount.path('d'), mount.path('e'));
  t.same(readdirSync(mount.path('e')).sort(), ['large', 'link', 'small']);
  t.equal(readFileSync(mount.path('e/link'), 'utf8'), 'small');
  t.ok(statfsSync(mount.dir).blocks > 0);
  rmSync(mount.path('e'), { recursive: true });
  t.same(await mount.client.keys(), []);
  writeFileSync(mount.path('last'), 'saved');
  mount.kill('SIGTERM');
  t.same(await mount.ended, { code: 0, signal: null });
  t.equal(await mount.client.text('last'), 'saved');
  t.notMatch(mount.log(), /ERR_MODULE_NOT_FOUND|could not be loaded/);
});
