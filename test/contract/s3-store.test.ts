/** The S3 store over real connections to the embedded server: plain, over TLS, and on servers that lack something. */
import t from 'tap';
import type { EmbeddedS3Options } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import type { S3StoreOptions } from '../../src/s3/open-store.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { StoreUnderTest } from './store.ts';
import { storeContract } from './store.ts';

const BUCKET = 'contract';

async function overEmbedded(
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
    make: () =>
      openS3Store({
        bucket: BUCKET,
        prefix: `한 ${stores++}/`,
        url: s3.url,
        credentials: async () => s3.credential,
        ...(s3.ca === undefined ? {} : { ca: s3.ca }),
        ...options,
      }),
  });
}

await overEmbedded('http', {});
await overEmbedded('tls', { tls: true });
