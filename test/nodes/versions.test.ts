/** The program on the other versions of Node that it supports: mounted, used, unmounted. All other tests are on this one. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { makeTree, treeContents } from '../support/tree.ts';

const NODES = fileURLToPath(new URL('../../node_modules/.s3mount-node/node_modules', import.meta.url));

/** More than one PUT takes: parts, and the spool. */
const LARGE = 40 * 1024 * 1024;

for (const version of [22, 24]) {
  t.test(`Node ${version}`, async t => {
    const node = `${NODES}/node${version}/bin/node`;
    if (!existsSync(node)) throw new Error(`Node ${version} is not installed: npm test -- nodes does it`);
    const mount = await aMount(t, { node });
    const bytes = patternBytes(LARGE, version);
    writeFileSync(mount.path('large'), bytes);
    mkdirSync(mount.path('tree'));
    makeTree(mount.path('tree'), { directories: 5, filesEach: 5, largest: 20_000 });
    const before = treeContents(mount.path('tree'));
    renameSync(mount.path('tree'), mount.path('moved'));
    await mount.remount();
    t.ok(readFileSync(mount.path('large')).equals(bytes), 'the same bytes after a remount');
    t.same(treeContents(mount.path('moved')), before);
    t.equal((await mount.stop()).code, 0);
  });
}
