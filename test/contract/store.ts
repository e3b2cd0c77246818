/**
 * What every `ObjectStore` must do, run over each of them. A store is made anew for each test and is empty, whatever lies
 * in its bucket beside it.
 */
import type { Test } from 'tap';
import type { StoreErrorKind } from '../../src/errors.ts';
import { isStoreError } from '../../src/errors.ts';
import type { ObjectDescription, ObjectInfo, ObjectStore, UploadedPart, Written } from '../../src/s3/store.ts';

export interface StoreUnderTest {
  /** An empty store. Closed by the suite. */
  make(): Promise<ObjectStore>;
  /** What S3 as a standard has and this server has not. Default: all is kept. */
  readonly lacks?: {
    readonly conditionalComplete?: boolean;
    readonly conditionalDelete?: boolean;
    /** Conditions at all: of two writers at the same moment both may succeed. */
    readonly conditions?: boolean;
    /** Listings carry keys as XML can: without control characters. */
    readonly encodedListing?: boolean;
    /** ETags that are MD5s. */
    readonly md5Etags?: boolean;
    /** Completing an upload that was aborted answers 500 for a while (Ceph RGW 16). */
    readonly abortedUploads?: boolean;
    /** Tags given to a multipart upload (Ceph RGW 16). */
    readonly uploadTags?: boolean;
  };
}

const PLAIN: ObjectDescription = { headers: {}, metadata: {} };
const OTHER_ETAG = '"d41d8cd98f00b204e9800998ecf8427f"';

const bytes = (text: string): Uint8Array[] => [new TextEncoder().encode(text)];

export function storeContract(t: Test, name: string, under: StoreUnderTest): void {
  const { lacks = {} } = under;
  const check = (what: string, run: (t: Test, store: ObjectStore) => Promise<void>): void => {
    t.test(`${name}: ${what}`, async t => {
      const store = await under.make();
      t.teardown(() => store.close());
      await run(t, store);
    });
  };
  const fails = async (t: Test, kind: StoreErrorKind, work: Promise<unknown>, what: string): Promise<void> => {
    try {
      await work;
      t.fail(`${what} should fail with ${kind}`);
    } catch (error) {
      if (isStoreError(error)) t.equal(error.kind, kind, what, { message: error.message });
      else throw error;
    }
  };
  const read = async (
    store: ObjectStore,
    key: string,
    offset = 0,
    length = 1 << 20,
    ifMatch?: string,
  ): Promise<string> => {
    const buffer = new Uint8Array(length);
    const result = await store.get(
      key,
      { offset, length, ...(ifMatch === undefined ? {} : { ifMatch }) },
      { buffers: [buffer] },
    );
    return new TextDecoder().decode(buffer.subarray(0, result.bytes));
  };

  check('an object comes back as it was put', async (t, store) => {
    const description: ObjectDescription = {
      headers: {
        contentType: 'text/csv; charset=utf-8',
        contentEncoding: 'identity',
        contentDisposition: 'attachment; filename="a.csv"',
        contentLanguage: 'ko',
        cacheControl: 'max-age=5',
      },
      metadata: { mtime: '1700000000.5', mode: '33188', 'odd.name-1': 'a b c' },
    };
    const before = Date.now();
    const written = await store.put(
      'dir/file.csv',
      [...bytes('a,b\n'), new Uint8Array(0), ...bytes('1,2\n')],
      description,
      undefined,
    );
    t.match(written.etag, /^"[0-9a-f]{32,}"$/, 'an ETag in quotes');
    const info = await store.head('dir/file.csv');
    t.equal(info.etag, written.etag);
    t.equal(info.size, 8);
    t.equal(info.key, 'dir/file.csv');
    t.same(info.description.headers, description.headers);
    t.same({ ...info.description.metadata }, description.metadata);
    t.ok(Math.abs(info.lastModified - before) < 60_000, 'a time');
    t.equal(info.lastModified % 1000, 0, 'in whole seconds');
    t.ok(Math.abs(info.serverDate - before) < 60_000);
    t.equal(info.tagCount, 0);
    t.equal(info.archived, false);
    t.equal(await read(store, 'dir/file.csv'), 'a,b\n1,2\n');
  });

  check('a range fills the buffers in order', async (t, store) => {
    const body = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251);
    const { etag } = await store.put('big', [body.subarray(0, 100_000), body.subarray(100_000)], PLAIN, undefined);
    const buffers = [new Uint8Array(1), new Uint8Array(99_999), new Uint8Array(0), new Uint8Array(150_000)];
    let started: ObjectInfo | undefined;
    const filled: number[] = [];
    const result = await store.get(
      'big',
      { offset: 12_345, length: 250_000, ifMatch: etag },
      {
        buffers,
        started: info => {
          t.equal(filled.length, 0, 'started comes first');
          started = info;
        },
        filled: count => filled.push(count),
      },
    );
    t.equal(result.bytes, 250_000);
    t.equal(started?.size, 300_000);
    t.equal(started?.etag, etag);
    t.equal(filled.at(-1), 250_000);
    t.same(
      filled,
      [...filled].sort((a, b) => a - b),
      'it never goes back',
    );
    t.equal(Buffer.compare(Buffer.concat(buffers), body.subarray(12_345, 262_345)), 0);
  });

  check('ranges at and past the end', async (t, store) => {
    await store.put('ten', bytes('0123456789'), PLAIN, undefined);
    await store.put('empty', [], PLAIN, undefined);
    t.equal(await read(store, 'ten', 8, 100), '89', 'is cut');
    await fails(t, 'range', read(store, 'ten', 10, 1), 'a range past the end');
    let started: ObjectInfo | undefined;
    const result = await store.get(
      'empty',
      { offset: 0, length: 10 },
      {
        buffers: [new Uint8Array(10)],
        started: info => {
          started = info;
        },
      },
    );
    t.equal(result.bytes, 0, 'an empty object is read without error');
    t.equal(started?.size, 0);
    t.equal(result.info.key, 'empty');
  });

  check('what is not there', async (t, store) => {
    await fails(t, 'not-found', store.head('nothing'), 'head');
    await fails(t, 'not-found', read(store, 'nothing'), 'get');
    await fails(t, 'not-found', store.tags('nothing'), 'tags');
    await fails(
      t,
      'not-found',
      store.copy({ key: 'nothing', etag: OTHER_ETAG, size: 1 }, 'there', undefined, undefined),
      'copy',
    );
    await store.delete('nothing');
    t.same(await store.deleteMany(['nothing', 'nothing/more']), []);
  });

  check('reads of a version', async (t, store) => {
    const first = await store.put('v', bytes('one'), PLAIN, undefined);
    t.equal(await read(store, 'v', 0, 10, first.etag), 'one');
    t.equal((await store.head('v', { ifMatch: first.etag })).size, 3);
    await store.put('v', bytes('two!'), PLAIN, undefined);
    await fails(t, 'precondition-failed', read(store, 'v', 0, 10, first.etag), 'get');
    await fails(t, 'precondition-failed', store.head('v', { ifMatch: first.etag }), 'head');
    t.equal(await read(store, 'v'), 'two!');
  });

  check('conditional puts', async (t, store) => {
    const first = await store.put('c', bytes('one'), PLAIN, { ifAbsent: true });
    await fails(t, 'precondition-failed', store.put('c', bytes('x'), PLAIN, { ifAbsent: true }), 'it exists');
    const second = await store.put('c', bytes('two'), PLAIN, { ifMatch: first.etag });
    await fails(t, 'precondition-failed', store.put('c', bytes('x'), PLAIN, { ifMatch: first.etag }), 'it has changed');
    t.equal(await read(store, 'c'), 'two');
    t.equal((await store.head('c')).etag, second.etag);
    await store.delete('c');
    await fails(t, 'not-found', store.put('c', bytes('x'), PLAIN, { ifMatch: second.etag }), 'it is gone');
    await fails(t, 'not-found', store.head('c'), 'and nothing was stored');
    await store.put('c', bytes('three'), PLAIN, { ifAbsent: true });
    t.equal(await read(store, 'c'), 'three');
  });

  check('deletes', async (t, store) => {
    const { etag } = await store.put('d', bytes('1'), PLAIN, undefined);
    await store.put('d', bytes('2'), PLAIN, undefined);
    if (!lacks.conditionalDelete) {
      await fails(t, 'precondition-failed', store.delete('d', { ifMatch: etag }), 'another version');
      t.equal(await read(store, 'd'), '2');
    }
    await store.delete('d', { ifMatch: (await store.head('d')).etag });
    await fails(t, 'not-found', store.head('d'), 'it is gone');
    await store.delete('d', { ifMatch: etag });
    const keys = ['m/1', 'm/한글 +%&<>"\'', 'm/a//b', 'm/\u0001 and \n', 'm/ ', 'm/z'];
    for (const key of keys) await store.put(key, bytes(key), PLAIN, undefined);
    t.same(await store.deleteMany([...keys.slice(0, 5), 'm/none']), []);
    t.same(
      (await store.list({ prefix: 'm/' })).objects.map(object => object.key),
      ['m/z'],
    );
  });

  check('copies', async (t, store) => {
    const description: ObjectDescription = {
      headers: { contentType: 'text/plain' },
      metadata: { mode: '33188' },
      tags: [
        ['team', 'a b&c=한'],
        ['k', ''],
      ],
    };
    const { etag } = await store.put('from 한+%/x', bytes('body'), description, undefined);
    const source = { key: 'from 한+%/x', etag, size: 4 };
    await store.copy(source, 'to', undefined, { ifAbsent: true });
    const copied = await store.head('to');
    if (!lacks.md5Etags) t.equal(copied.etag, etag);
    t.equal(copied.description.headers.contentType, 'text/plain');
    t.equal(copied.description.metadata['mode'], '33188');
    t.equal(copied.tagCount, 2);
    t.same(sortedTags(await store.tags('to')), sortedTags(description.tags!), 'tags go along');
    await store.copy(
      { ...source, key: 'to', etag: copied.etag },
      'to',
      { headers: { contentType: 'text/csv' }, metadata: { mode: '33261' } },
      { ifMatch: copied.etag },
    );
    const changed = await store.head('to');
    t.equal(changed.description.headers.contentType, 'text/csv');
    t.same({ ...changed.description.metadata }, { mode: '33261' }, 'onto itself with other metadata');
    t.equal(await read(store, 'to'), 'body');
    await fails(
      t,
      'precondition-failed',
      store.copy({ ...source, etag: OTHER_ETAG }, 'other', undefined, undefined),
      'the source is another version',
    );
    await fails(t, 'not-found', store.head('other'), 'nothing was made');
    await fails(t, 'precondition-failed', store.copy(source, 'to', undefined, { ifAbsent: true }), 'the target exists');
    await fails(
      t,
      'precondition-failed',
      store.copy(source, 'to', undefined, { ifMatch: OTHER_ETAG }),
      'the target is another version',
    );
  });

  check('tags', async (t, store) => {
    const tags: (readonly [string, string])[] = [
      ['team', 'data science'],
      ['cost+center', '한국=1&2'],
    ];
    await store.put('tagged', bytes('x'), { ...PLAIN, tags }, undefined);
    t.equal((await store.head('tagged')).tagCount, 2);
    t.same(sortedTags(await store.tags('tagged')), sortedTags(tags));
    await store.put('tagged', bytes('y'), PLAIN, undefined);
    t.equal((await store.head('tagged')).tagCount, 0, 'a write replaces them');
    t.same(await store.tags('tagged'), []);
  });

  const ODD_KEYS = [
    ' leading and trailing ',
    '+plus+',
    '%25 %2F %zz',
    'quo\'te"s & <xml> ]]>',
    'a//b///c',
    'back\\slash',
    'control\u0001\u001f',
    'emoji 😀 and 한글 NFC',
    'emoji 😀 and 한글 NFD'.normalize('NFD'),
    'line\nbreak\ttab',
    'semi;colon?query=1#hash=2',
    'star*(paren)!~tilde',
    'ｚ wide',
    '\u{10ffff} last',
  ];

  check('keys of all kinds', async (t, store) => {
    const keys = lacks.encodedListing ? ODD_KEYS.filter(key => !/[\0-\x1f]/.test(key)) : ODD_KEYS;
    for (const key of keys) await store.put(key, bytes(key), PLAIN, { ifAbsent: true });
    for (const key of keys) {
      t.equal(await read(store, key), key, JSON.stringify(key));
      t.equal((await store.head(key)).size, Buffer.byteLength(key));
    }
    const listed = await store.list({ prefix: '' });
    t.same(
      listed.objects.map(object => object.key),
      [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
      'listed in the order of their bytes',
    );
    const [odd] = keys;
    await store.copy({ ...(await store.head(odd!)) }, `${odd} copy`, undefined, undefined);
    t.equal(await read(store, `${odd} copy`), odd);
    t.same(await store.deleteMany(keys), []);
    t.same(
      (await store.list({ prefix: '' })).objects.map(object => object.key),
      [`${odd} copy`],
    );
  });

  check('listings with a delimiter, page by page', async (t, store) => {
    const keys = ['a', 'b-c', 'b/', 'b/1', 'b/2/x', 'b/2/y', 'b0', 'c/한/1', 'd', '한/글'];
    for (const key of keys) await store.put(key, bytes(key), PLAIN, undefined);
    const whole = await store.list({ prefix: '', delimiter: '/' });
    t.same(
      whole.objects.map(object => object.key),
      ['a', 'b-c', 'b0', 'd'],
    );
    t.same(whole.prefixes, ['b/', 'c/', '한/']);
    t.equal(whole.next, undefined);
    t.ok(whole.serverDate > 0);
    const [first] = whole.objects;
    const { etag, size, lastModified } = await store.head('a');
    t.match(first, { key: 'a', etag, size, lastModified }, 'an entry says what HEAD says');
    const within = await store.list({ prefix: 'b/', delimiter: '/' });
    t.same(
      within.objects.map(object => object.key),
      ['b/', 'b/1'],
      'the marker of a directory is among its objects',
    );
    t.same(within.prefixes, ['b/2/']);
    const seen: string[] = [];
    let pages = 0;
    let next: string | undefined;
    do {
      const page = await store.list({
        prefix: '',
        delimiter: '/',
        maxKeys: 2,
        ...(next === undefined ? {} : { continuation: next }),
      });
      t.ok(page.objects.length + page.prefixes.length <= 2);
      seen.push(...page.objects.map(object => object.key), ...page.prefixes);
      next = page.next;
      pages++;
    } while (next !== undefined && pages < 20);
    t.same([...seen].sort(), ['a', 'b-c', 'b/', 'b0', 'c/', 'd', '한/'].sort(), 'each entry on one page');
    t.same((await store.list({ prefix: 'none/' })).objects, []);
    if (store.features.orderedListing) {
      const later = await store.list({ prefix: '', startAfter: 'b/2/x' });
      t.same(
        later.objects.map(object => object.key),
        ['b/2/y', 'b0', 'c/한/1', 'd', '한/글'],
        'start-after',
      );
      t.same(
        (await store.list({ prefix: 'b', startAfter: 'b/1', maxKeys: 1 })).objects.map(object => object.key),
        ['b/2/x'],
      );
    }
  });

  check('a multipart upload', async (t, store) => {
    const size = store.limits.minPartSize;
    const part = (fill: number, length: number): Uint8Array => new Uint8Array(length).fill(fill);
    const source = await store.put('source', [part(7, 1000), part(8, size)], PLAIN, undefined);
    const version = { key: 'source', etag: source.etag, size: size + 1000 };
    const upload = await store.beginUpload('large/한 글', {
      headers: { contentType: 'application/x-big' },
      metadata: { mode: '33188' },
      tags: [['a', 'b']],
    });
    await fails(t, 'not-found', store.head('large/한 글'), 'nothing is there before it is complete');
    const parts: UploadedPart[] = [];
    const [second, third] = store.limits.consecutiveParts ? [2, 3] : [3, 7];
    parts[2] = await upload.putPart(third, [part(3, 10)]);
    parts[0] = await upload.putPart(1, [part(9, 20)]);
    parts[0] = await upload.putPart(1, [part(1, size - 5), part(2, 5)]);
    parts[1] = await upload.copyPart(second, version, 1000, size);
    t.equal(parts[1].size, size);
    await fails(
      t,
      'precondition-failed',
      upload.copyPart(4, { ...version, etag: OTHER_ETAG }, 0, 5),
      'a part of another version',
    );
    const written = await upload.complete(parts, { ifAbsent: true });
    const info = await store.head('large/한 글');
    t.equal(info.size, 2 * size + 10);
    t.equal(info.etag, written.etag);
    t.match(written.etag, /^"[0-9a-f]{32}-3"$/);
    t.equal(info.description.headers.contentType, 'application/x-big');
    t.equal(info.description.metadata['mode'], '33188');
    if (!lacks.uploadTags) t.equal(info.tagCount, 1);
    const around = new Uint8Array(20);
    await store.get('large/한 글', { offset: size - 10, length: 20, ifMatch: written.etag }, { buffers: [around] });
    t.same([...around], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, ...new Array(10).fill(8)]);
    await upload.abort();
    await fails(t, 'no-such-upload', upload.putPart(8, [part(1, 1)]), 'a part for what is complete');
  });

  check('an upload that is aborted, and one that is wrong', async (t, store) => {
    const upload = await store.beginUpload('gone', PLAIN);
    const sent = await upload.putPart(1, bytes('x'));
    await upload.abort();
    await upload.abort();
    if (!lacks.abortedUploads) {
      await fails(t, 'no-such-upload', upload.complete([sent], undefined), 'complete after abort');
    }
    await fails(t, 'not-found', store.head('gone'), 'nothing is there');
    const wrong = await store.beginUpload('wrong', PLAIN);
    const part = await wrong.putPart(1, bytes('x'));
    await fails(t, 'invalid', wrong.complete([{ ...part, etag: OTHER_ETAG }], undefined), 'a part that was not sent');
    await fails(t, 'invalid', wrong.complete([], undefined), 'no parts');
    await wrong.abort();
  });

  check('conditions on completion', async (t, store) => {
    if (lacks.conditionalComplete) {
      t.pass('this server keeps none');
      return;
    }
    const complete = async (fill: number, condition: Parameters<typeof store.put>[3]): Promise<Written> => {
      const upload = await store.beginUpload('k', PLAIN);
      const part = await upload.putPart(1, [new Uint8Array(100).fill(fill)]);
      try {
        return await upload.complete([part], condition);
      } finally {
        await upload.abort();
      }
    };
    const first = await complete(1, { ifAbsent: true });
    await fails(t, 'precondition-failed', complete(2, { ifAbsent: true }), 'it exists');
    const second = await complete(3, { ifMatch: first.etag });
    await fails(t, 'precondition-failed', complete(4, { ifMatch: first.etag }), 'it has changed');
    t.equal((await store.head('k')).etag, second.etag);
    await store.delete('k');
    await fails(t, 'not-found', complete(5, { ifMatch: second.etag }), 'it is gone');
  });

  check('an abort ends the wait and touches no buffer later', async (t, store) => {
    await store.put('a', [new Uint8Array(4 << 20).fill(1)], PLAIN, undefined);
    const gone = AbortSignal.abort();
    await fails(t, 'aborted', store.head('a', { signal: gone }), 'before it begins');
    await fails(t, 'aborted', store.list({ prefix: '' }, { signal: gone }), 'a listing');
    await fails(t, 'aborted', store.put('b', bytes('x'), PLAIN, undefined, { signal: gone }), 'a put');
    const controller = new AbortController();
    const buffer = new Uint8Array(4 << 20);
    let settled = false;
    let late = 0;
    const running = store.get(
      'a',
      { offset: 0, length: 4 << 20 },
      {
        buffers: [buffer],
        filled: () => {
          if (settled) late++;
          controller.abort();
        },
      },
      { signal: controller.signal },
    );
    await fails(t, 'aborted', running, 'in the midst of a body');
    settled = true;
    buffer.fill(9);
    t.equal(await read(store, 'a', 0, 1), '\u0001', 'the store goes on');
    t.equal(late, 0);
    t.ok(buffer.every(byte => byte === 9));
  });

  check('limits', async (t, store) => {
    const room = store.limits.maxKeyBytes - store.prefixBytes;
    const longest = 'k'.repeat(room);
    await store.put(longest, bytes('x'), PLAIN, undefined);
    t.equal(await read(store, longest), 'x');
    await fails(t, 'invalid', store.put(`${longest}k`, bytes('x'), PLAIN, undefined), 'a key too long');
    await fails(
      t,
      'invalid',
      store.put('h', bytes('x'), { headers: {}, metadata: { a: 'b\r\nx-amz-acl: public-read' } }, undefined),
      'a header within a header',
    );
  });

  check('many at once', async (t, store) => {
    const keys = Array.from({ length: 60 }, (_, i) => `n/${i}`);
    await Promise.all(keys.map(key => store.put(key, bytes(`body of ${key}`), PLAIN, { ifAbsent: true })));
    const texts = await Promise.all(keys.map(key => read(store, key)));
    t.same(
      texts,
      keys.map(key => `body of ${key}`),
    );
    if (!lacks.conditions) await race(t, store);
    t.same(await store.deleteMany(keys), []);
  });

  const race = async (t: Test, store: ObjectStore): Promise<void> => {
    const racers = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) => store.put('race', bytes(`winner ${i}`), PLAIN, { ifAbsent: true })),
    );
    t.equal(racers.filter(racer => racer.status === 'fulfilled').length, 1, 'one of eight creates');
  };
}

/** Stores give tags in an order of their own. */
function sortedTags(tags: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  return [...tags].sort(([a], [b]) => (a < b ? -1 : 1));
}
