/** 100,000 objects in one directory: listed completely, streamed, and no burden for the names beside them. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { DirectoryStream } from '../support/directory-stream.ts';
import { aMount, BUCKET, eventually } from '../support/mount.ts';
import { run } from '../support/processes.ts';

const MIB = 1024 * 1024;
const COUNT = 100_000;

t.test('100,000 objects in one directory', async t => {
  const mount = await aMount(t, {
    options: 'stat=list,stat_cache_expire=600',
    async prepare(client, s3) {
      await s3!.fill(BUCKET, { prefix: 'many/', count: COUNT, size: 10 });
      await client.put('many/z-directory/file', 'x');
    },
  });
  const dir = mount.path('many');
  // The first entries come before the last page is fetched.
  const stream = new DirectoryStream(dir);
  t.equal(stream.next(), 'f00000000');
  const early = (await mount.s3.stats()).requests['ListObjectsV2']!;
  t.ok(early < 20, `${early} pages for the first entry`);
  const names = ['f00000000', ...stream.rest()];
  stream.close();
  t.equal(names.length, COUNT + 1);
  let inOrder = true;
  for (let i = 0; i < COUNT; i++) inOrder &&= names[i] === `f${String(i).padStart(8, '0')}`;
  t.ok(inOrder, 'each name once, in order');
  t.equal(names[COUNT], 'z-directory');
  const pages = (await mount.s3.stats()).requests['ListObjectsV2']!;
  t.ok(pages <= COUNT / 1000 + 20, `${pages} pages`);

  t.equal(run('sh', ['-c', 'ls -l "$1" | wc -l', 'sh', dir]).trim(), String(COUNT + 2), 'ls -l');
  t.equal(run('find', [dir, '-name', '*7', '-size', '-2', '-printf', '.']).length, COUNT / 10, 'find');
  writeFileSync(mount.path('many/f00050000a'), 'new');
  t.equal(readFileSync(mount.path('many/f00050000a'), 'utf8'), 'new');
  t.equal(statSync(mount.path('many/f00099999')).size, 10);
  const again = readdirSync(dir);
  t.equal(again.length, COUNT + 2);
  t.ok(again.includes('f00050000a'));
  const memory = mount.mostMemory();
  t.ok(memory < 512 * MIB, `${Math.round(memory / MIB)} MiB at most`);
});

t.test('with exact attributes: names cost no metadata', async t => {
  const mount = await aMount(t, {
    prepare: async (_client, s3) => await s3!.fill(BUCKET, { prefix: 'many/', count: 20_000, size: 10 }),
  });
  const requests = await mount.s3.during(() => {
    t.equal(readdirSync(mount.path('many')).length, 20_000);
  });
  t.ok((requests['HeadObject'] ?? 0) <= 2, JSON.stringify(requests));
});

t.test('a walk that will send 100,000 HEADs is told of while it runs', async t => {
  const mount = await aMount(t, {
    prepare: async (_client, s3) => await s3!.fill(BUCKET, { prefix: 'many/', count: COUNT + 1000, size: 10 }),
  });
  // Some of them only: the others are told of because they were listed.
  const script = 'cd "$1" && ls -f > /dev/null && seq -f f%08.0f 0 2500 | xargs stat -c %s > /dev/null';
  run('sh', ['-c', script, 'sh', mount.path('many')]);
  t.ok(await eventually(() => mount.log().includes('stat=list takes attributes from the listings')), 'in the log');
  const line = mount
    .log()
    .split('\n')
    .find(each => each.includes('stat=list takes'))!;
  t.match(JSON.parse(line), { level: 40, msg: /about 1\d\d,\d{3} if it looks at all that was listed \(\$0\.04\d?\)/ });
  t.ok((await mount.s3.stats()).requests['HeadObject']! < COUNT / 2, 'long before it has');
});
