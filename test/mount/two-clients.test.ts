/** Two daemons with one bucket, and programs that change the same files on both: nothing is overwritten in silence. */
import t from 'tap';
import { collide, findings } from '../support/colliding-programs.ts';
import { aMount } from '../support/mount.ts';

/** Rounds of each of the two programs. */
const ROUNDS = 150;
const LARGE_ROUNDS = 12;
/** Above what goes by one PUT. */
const LARGE_SIZE = 18 * 1024 * 1024;

for (const [title, rounds, ways] of [
  ['appends, changes in place, files renamed over and made new', ROUNDS, ['append', 'change', 'replace', 'make']],
  ['a large file, changed in parts', LARGE_ROUNDS, ['part']],
] as const) {
  t.test(title, async t => {
    // What a program reads and then renames over must not be learned anew in between.
    const options = 'stat_cache_expire=3600,open_check=0';
    const one = await aMount(t, {
      options,
      async prepare(client) {
        for (const key of ['log', 'text', 'document']) await client.put(key, '<first>\n');
        await client.put('large', Buffer.alloc(LARGE_SIZE, '.'));
      },
    });
    const two = await aMount(t, { options, access: one.access });
    const reports = await Promise.all([collide(one.dir, 'one', rounds, ways), collide(two.dir, 'two', rounds, ways)]);
    const answers = (await one.s3.stats()).answers;
    const { lost, withoutCopy, odd, conflicts } = await findings(one.client, reports.flat());
    t.same(lost, [], `of ${2 * rounds} records none is lost`);
    t.same(withoutCopy, [], 'ESTALE at a close comes with a conflict copy');
    t.same(odd, [], 'no other error');
    const stale = reports.flat().filter(({ outcome }) => outcome === 'ESTALE').length;
    t.ok(stale > 0 && conflicts > 0, `they met: ${stale} times ESTALE, ${conflicts} conflict copies`);
    const refused = (answers['PutObject 412'] ?? 0) + (answers['CompleteMultipartUpload 412'] ?? 0);
    t.ok(refused <= stale + conflicts + 4, `${refused} saves were refused, each was told`);
    t.equal(await one.client.openUploads(), 0, 'no upload is left');
    for (const mount of [one, two]) t.notMatch(mount.log(), /"level":60/, 'no fatal error');
  });
}
