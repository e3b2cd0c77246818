import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import {
  type ConditionalOperation,
  ConditionalWriter,
  type ConditionHeaders,
  IMPOSSIBLE_ETAG,
} from '../../src/s3/conditional-write.ts';
import { Failure } from '../../src/s3/error-kinds.ts';
import type { ObjectInfo } from '../../src/s3/store.ts';
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

/** Many conditional changes at once on a store that keeps conditions, or not; what went out. */
async function many(
  operation: ConditionalOperation,
  keeps: boolean,
): Promise<{ sent: ConditionHeaders[]; heads: number }> {
  const sent: ConditionHeaders[] = [];
  let heads = 0;
  const writer = new ConditionalWriter({
    telemetry: silentTelemetry,
    known: false,
    head: async key => {
      heads++;
      return info(key);
    },
    pause: async () => {},
  });
  const write = (key: string): Promise<unknown> =>
    writer.write({
      operation,
      key,
      condition: { ifMatch: `"${key}"` },
      small: true,
      made: () => false,
      send: async headers => {
        sent.push(headers);
        await new Promise(resolve => setImmediate(resolve));
        if (keeps && headers.ifMatch !== undefined && headers.ifMatch !== `"${key}"`) {
          throw new Failure(new StoreError('precondition-failed', 'it is another'));
        }
        return { etag: '"new"', serverDate: 0 };
      },
    });
  await Promise.all(Array.from({ length: 32 }, (_, i) => write(`f${i}`)));
  return { sent, heads };
}

t.test('of many changes at once the first finds out for all whether conditions are kept', async t => {
  for (const operation of ['PutObject', 'CopyObject'] as const) {
    const { sent, heads } = await many(operation, true);
    t.equal(sent.filter(({ ifMatch }) => ifMatch === IMPOSSIBLE_ETAG).length, 1, operation);
    t.equal(sent.length, 33);
    t.equal(heads, 1);
  }
});

t.test('on a store that keeps none each change looks for itself', async t => {
  const { sent, heads } = await many('PutObject', false);
  t.equal(sent.filter(({ ifMatch }) => ifMatch !== undefined).length, 1);
  t.equal(sent.length, 32);
  t.equal(heads, 32);
});
