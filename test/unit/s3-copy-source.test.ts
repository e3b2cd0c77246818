import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import { ConditionalWriter, IMPOSSIBLE_ETAG } from '../../src/s3/conditional-write.ts';
import { CopySources } from '../../src/s3/copy-source.ts';
import { Failure } from '../../src/s3/error-kinds.ts';
import type { ObjectInfo, ObjectVersion } from '../../src/s3/store.ts';
import { silentTelemetry } from '../../src/telemetry.ts';

const info = (key: string): ObjectInfo => ({
  key,
  etag: `"${key}"`,
  size: 1,
  lastModified: 0,
  serverDate: 0,
  description: { headers: {}, metadata: {} },
  tagCount: 0,
  archived: false,
});

/** A store that keeps conditions on the source, or not; `missing` is a key that it does not have. */
function sources(keeps: boolean, missing?: string) {
  const sent: (string | undefined)[] = [];
  const heads: string[] = [];
  const head = async (key: string): Promise<ObjectInfo | undefined> => {
    heads.push(key);
    await new Promise(resolve => setImmediate(resolve));
    return key === missing ? undefined : info(key);
  };
  const telemetry = silentTelemetry;
  const writer = new ConditionalWriter({ telemetry, known: false, head, pause: async () => {} });
  const copies = new CopySources({ writer, telemetry, known: false, head });
  const copy = (source: ObjectVersion): Promise<string> =>
    copies.copy({
      operation: 'UploadPartCopy',
      source,
      trial: false,
      targetHolds: () => true,
      send: async ifMatch => {
        sent.push(ifMatch);
        await new Promise(resolve => setImmediate(resolve));
        if (source.key === missing) throw new Failure(new StoreError('not-found', 'it is gone'));
        if (keeps && ifMatch !== undefined && ifMatch !== source.etag) {
          throw new Failure(new StoreError('precondition-failed', 'it is another'));
        }
        return source.key;
      },
    });
  return { copy, sent, heads };
}

const versions = Array.from({ length: 32 }, (_, i) => info(`f${i}`));

t.test('of many copies at once the first finds out for all that conditions are kept', async t => {
  const { copy, sent, heads } = sources(true);
  t.same(
    await Promise.all(versions.map(copy)),
    versions.map(({ key }) => key),
  );
  t.equal(heads.length, 0, 'a part that was refused needs no look');
  t.equal(sent.filter(ifMatch => ifMatch === IMPOSSIBLE_ETAG).length, 1);
  t.equal(sent.length, 33);
});

t.test('and that they are not: then each looks at its source before', async t => {
  const { copy, sent, heads } = sources(false);
  t.same(
    await Promise.all(versions.map(copy)),
    versions.map(({ key }) => key),
  );
  t.equal(heads.length, 32);
  t.equal(sent.length, 32);
  t.equal(sent.filter(ifMatch => ifMatch !== undefined).length, 1);
});

t.test('parts that set out together look once', async t => {
  const { copy, heads } = sources(false);
  const source = info('large');
  await copy(source);
  await Promise.all(Array.from({ length: 16 }, () => copy(source)));
  t.equal(heads.length, 2);
  await copy(source);
  t.equal(heads.length, 3);
});

t.test('a first copy that fails for another reason leaves it to the next', async t => {
  const { copy, sent } = sources(true, 'gone');
  const [gone, there] = await Promise.allSettled([copy(info('gone')), copy(info('there'))]);
  t.match(gone, { status: 'rejected' });
  t.match(there, { status: 'fulfilled', value: 'there' });
  t.same(sent, [IMPOSSIBLE_ETAG, IMPOSSIBLE_ETAG, '"there"']);
});

t.test('a part that nothing guarded is refused if its source is another by then', async t => {
  const { copy } = sources(false);
  const failure: unknown = await copy({ ...info('f'), etag: '"before"' }).catch((error: unknown) => error);
  t.equal(failure instanceof Failure && failure.error.kind, 'precondition-failed');
});
