/** Runs the contract of stores on the S3 store, over real connections to an embedded server. */
import t from 'tap';
import type { EmbeddedS3Options } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import type { S3StoreOptions } from '../../src/s3/open-store.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { ObjectStore } from '../../src/s3/store.ts';
import type { StoreUnderTest } from './store.ts';
import { storeContract } from './store.ts';

const BUCKET = 'contract';

export async function overEmbedded(
  name: string,
  server: EmbeddedS3Options,
  lacks: NonNullable<StoreUnderTest['lacks']> = {},
  options: Partial<S3StoreOptions> = {},
): Promise<void> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], ...server });
  t.teardown(() => s3.close());
  let stores = 0;
  storeContract(t, name, {
    lacks,
    make: async () => {
      const store = await openS3Store({
        bucket: BUCKET,
        prefix: `한 ${stores++}/`,
        url: s3.url,
        credentials: async () => s3.credential,
        ...(s3.ca === undefined ? {} : { tls: { ca: s3.ca } }),
        ...options,
      });
      if (lacks.conditions) await learn(store);
      return store;
    },
  });
}

/** That a store keeps no conditions is found out by the first change of an object, in each of both ways. */
async function learn(store: ObjectStore): Promise<void> {
  const plain = { headers: {}, metadata: {} };
  const first = await store.put('learn', [Buffer.from('1')], plain, undefined);
  const second = await store.put('learn', [Buffer.from('2')], plain, { ifMatch: first.etag });
  const upload = await store.beginUpload('learn', plain);
  await upload.complete([await upload.putPart(1, [Buffer.from('3')])], { ifMatch: second.etag });
  await store.delete('learn');
  t.equal(store.features.conditionalPut, false);
  t.equal(store.features.conditionalComplete, false);
}
