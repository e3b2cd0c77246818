/** The S3 store on servers that differ from S3: what they lack is found out, and made up for where that is possible. */
import { overEmbedded } from './embedded-store.ts';

await overEmbedded('unquoted ETags', { modes: { unquotedEtags: true } });
await overEmbedded(
  'no conditions',
  { modes: { noConditionalPut: true, noConditionalComplete: true, noConditionalDelete: true } },
  { conditions: true },
);
await overEmbedded(
  'conditions refused',
  { modes: { noConditionalPut: 'refuse', noConditionalComplete: 'refuse' } },
  { conditions: true },
);
await overEmbedded(
  'no batches, no encoding',
  { modes: { noDeleteObjects: true, noEncodingType: true } },
  { encodedListing: true },
);
await overEmbedded('KMS by default', { modes: { kms: true } }, { md5Etags: true });
await overEmbedded('versions kept', { modes: { versioning: true } });
