import fc from 'fast-check';
import t, { type Test } from 'tap';
import { deep, filesOf, QUICK, tree, treeSize, WHOLE } from '../../bench/mounts/data-sets.ts';
import {
  deleteAll,
  floorOf,
  getWhole,
  listAll,
  type Plan,
  putFiles,
  renameFile,
  requestSeconds,
  rewrite,
  upload,
} from '../../bench/mounts/plan.ts';
import { CONNECTIONS, PROFILES, type Profile, paceQuery } from '../../bench/mounts/profiles.ts';

const MIB = 1024 * 1024;
const s3 = PROFILES.find(({ name }) => name === 's3')!;
const none = PROFILES.find(({ name }) => name === 'none')!;

function near(t: Test, found: number, wanted: number): void {
  t.ok(Math.abs(found - wanted) < 1e-9 * Math.max(1, wanted), `${found} should be ${wanted}`);
}

t.test('one request: first byte, then bytes at the speed of a connection, or of a copy', async t => {
  near(t, requestSeconds({ do: 'get', key: 'k', offset: 0, length: 90e6 }, s3), 1.02);
  near(t, requestSeconds({ do: 'part', key: 'k', number: 1, length: 9e6 }, s3), 0.13);
  near(t, requestSeconds({ do: 'copy', from: 'a', key: 'b', length: 150e6 }, s3), 1.04);
  near(t, requestSeconds({ do: 'delete', keys: ['a', 'b'] }, s3), 0.015);
  near(t, requestSeconds({ do: 'begin', key: 'k' }, s3), 0.02);
  t.equal(requestSeconds({ do: 'get', key: 'k', offset: 0, length: 1e12 }, none), 0);
});

t.test('floors that can be reckoned by hand', async t => {
  // In turn: 1,000 PUTs of 30 ms and 4 KiB each; at once: a sixteenth of it.
  const files = filesOf('small', WHOLE);
  const one = 0.03 + 4096 / 90e6;
  near(t, floorOf(putFiles(files, 1), s3).seconds, 1000 * one);
  near(t, floorOf(putFiles(files), s3).seconds, (1000 * one) / CONNECTIONS);
  t.equal(floorOf(putFiles(files), s3).requests, 1000);
  // 2 GiB over 16 connections of 90 MB/s, and 16 first bytes on each.
  near(t, floorOf(getWhole(['k'], WHOLE.big), s3).seconds, WHOLE.big / (16 * 90e6) + 16 * 0.02);
  // Ten pages: the first tells how to share out the other nine.
  const page = 0.04 + (1000 * 250) / 90e6;
  const keys = filesOf('many', WHOLE).map(({ key }) => key);
  near(t, floorOf(listAll('d/', keys), s3).seconds, 2 * page);
  t.equal(floorOf(listAll('d/', keys), s3).requests, 10);
  t.same(floorOf([], s3), { seconds: 0, requests: 0 });
  t.same(floorOf(deleteAll(keys), none), { seconds: 0, requests: 10 });
});

t.test('a floor is not above what a schedule needs, nor below the longest request', async t => {
  const lengths = fc.array(fc.integer({ min: 0, max: 100 * MIB }), { minLength: 1, maxLength: 60 });
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 40 }), (sizes, width) => {
        const requests = sizes.map(length => ({ do: 'get' as const, key: 'k', offset: 0, length }));
        const { seconds } = floorOf([{ requests, width }], s3);
        // Whoever is free takes the next: what `raw` does.
        const free = Array.from({ length: Math.min(width, CONNECTIONS) }, () => 0);
        for (const request of requests) {
          const earliest = free.indexOf(Math.min(...free));
          free[earliest]! += requestSeconds(request, s3);
        }
        const longest = Math.max(...requests.map(request => requestSeconds(request, s3)));
        return seconds <= Math.max(...free) + 1e-9 && seconds >= longest - 1e-12;
      }),
    ),
  );
});

/** Ranges of the new object that each part of a plan makes, in the order of their numbers. */
function madeBy(plan: Plan): { offset: number; length: number; copied: boolean }[] {
  const parts = plan.flatMap(({ requests }) =>
    requests.flatMap(request => (request.do === 'part' || request.do === 'copy-part' ? [request] : [])),
  );
  parts.sort((a, b) => a.number - b.number);
  let offset = 0;
  return parts.map(part => {
    const made = { offset, length: part.length, copied: part.do === 'copy-part' };
    offset += part.length;
    return made;
  });
}

t.test(
  'a rewrite makes the whole object of parts that S3 takes, and sends only those that hold the change',
  async t => {
    const MIN = 5 * MIB;
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(
          fc.integer({ min: 64, max: 2048 }),
          fc.double({ min: 0.1, max: 0.9, noNaN: true }),
          (mebibytes, at) => {
            const size = mebibytes * MIB;
            const offset = Math.floor(size * at);
            const plan = rewrite('k', size, offset, 4096);
            const made = madeBy(plan);
            if (made.reduce((sum, { length }) => sum + length, 0) !== size) return false;
            if (made.slice(0, -1).some(({ length }) => length < MIN)) return false;
            const sent = made.filter(({ copied }) => !copied);
            if (sent.length !== 1 || sent[0]!.offset !== offset || sent[0]!.length < 4096) return false;
            // Each copied range comes from where it goes.
            const copies = plan.flatMap(({ requests }) =>
              requests.flatMap(one => (one.do === 'copy-part' ? [one] : [])),
            );
            return copies.every(copy => made[copy.number - 1]!.offset === copy.offset && copy.length <= 5 * 1024 * MIB);
          },
        ),
      ),
    );
    const appended = madeBy(rewrite('k', 1024 * MIB, 1024 * MIB, 1024));
    t.same(appended.at(-1), { offset: 1024 * MIB, length: 1024, copied: false });
    t.ok(appended.slice(0, -1).every(({ copied, length }) => copied && length >= MIN));
  },
);

t.test('uploads and copies are whole, small files are renamed by one copy', async t => {
  const parts = madeBy(upload(['k'], 100 * MIB + 1));
  t.equal(
    parts.reduce((sum, { length }) => sum + length, 0),
    100 * MIB + 1,
  );
  t.same(
    renameFile('a', 'b', 1000).map(({ requests }) => requests.map(one => one.do)),
    [['copy'], ['delete']],
  );
  const large = madeBy(renameFile('a', 'b', 256 * MIB));
  t.equal(large.length, 16);
  t.equal(
    large.reduce((sum, { length }) => sum + length, 0),
    256 * MIB,
  );
});

t.test('deletes come by the thousand', async t => {
  const keys = Array.from({ length: 2500 }, (_, i) => `k${i}`);
  const [stage] = deleteAll(keys);
  t.same(
    stage!.requests.map(request => (request.do === 'delete' ? request.keys.length : 0)),
    [1000, 1000, 500],
  );
});

t.test(
  'the tree: so many files in so many directories, sizes over the whole range, keys in the order of bytes',
  async t => {
    for (const scale of [WHOLE, QUICK]) {
      const files = tree('t/', scale);
      t.equal(files.length, scale.treeFiles);
      const directories = new Set(files.map(({ key }) => key.slice(0, key.lastIndexOf('/'))));
      t.equal(directories.size, scale.treeDirectories);
      const keys = files.map(({ key }) => key);
      t.same(keys, [...keys].sort());
      t.equal(new Set(keys).size, keys.length);
    }
    const sizes = Array.from({ length: 6400 }, (_, i) => treeSize(i));
    t.ok(Math.min(...sizes) >= 512 && Math.min(...sizes) < 600);
    t.ok(Math.max(...sizes) <= 300 * 1024 && Math.max(...sizes) > 290 * 1024);
  },
);

t.test('the deep bucket: all files, evenly over the directories', async t => {
  const files = deep('d/', QUICK);
  t.equal(files.length, QUICK.most);
  t.equal(new Set(files.map(({ key }) => key.split('/')[1])).size, QUICK.directories);
});

t.test("the pace in the server's words", async t => {
  t.match(paceQuery(s3), /set=get%3D20ms%2Cput%3D30ms.*conn-bandwidth=90000000&copy-bandwidth=150000000/);
  t.equal(paceQuery(none as Profile), 'set=off&conn-bandwidth=off&copy-bandwidth=off');
});
