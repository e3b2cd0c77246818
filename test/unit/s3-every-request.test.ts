/** What every request, or every object that is written, has to carry: on the lean path and in what the SDK words. */
import net from 'node:net';
import t, { type Test } from 'tap';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store, type S3StoreOptions } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';

const PLAIN = { headers: {}, metadata: {} };

/** The heads of all requests while everything is used once. */
async function headsOf(
  t: Test,
  options: Partial<S3StoreOptions>,
  server: EmbeddedS3Options = {},
): Promise<{ heads: string[]; s3: EmbeddedS3 }> {
  const s3 = await startEmbeddedS3({ buckets: ['works'], ...server });
  t.teardown(() => s3.close());
  const heads: string[] = [];
  const store = await openS3Store({
    bucket: 'works',
    url: s3.url,
    region: 'us-east-1',
    credentials: async () => s3.credential,
    tunnel: () =>
      new Promise(resolve => {
        const socket: net.Socket = net.connect(s3.port, '127.0.0.1', () => resolve(socket));
        const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
        socket.write = ((...args: unknown[]) => {
          if (typeof args[0] === 'string' && / HTTP\/1\.1\r\n/.test(args[0])) heads.push(args[0]);
          return write(...args);
        }) as typeof socket.write;
      }),
    ...options,
  });
  await useAll(store);
  await store.close();
  return { heads, s3 };
}

async function useAll(store: S3Store): Promise<void> {
  await store.put('put', [Buffer.from('x')], { ...PLAIN, tags: [['a', 'b']] }, { ifAbsent: true });
  const info = await store.head('put');
  await store.get('put', { offset: 0, length: 1 }, { buffers: [Buffer.alloc(1)] });
  await store.list({ prefix: '', maxKeys: 10 });
  await store.tags('put');
  await store.copy(info, 'copy', undefined, { ifAbsent: true });
  const upload = await store.beginUpload('parts', PLAIN);
  await upload.complete([await upload.putPart(1, [Buffer.from('x')])], { ifAbsent: true });
  await (await store.beginUpload('aborted', PLAIN)).abort();
  await store.delete('put');
  await store.deleteMany(['gone', 'too']);
}

const lineOf = (head: string): string => head.slice(0, head.indexOf('\r\n'));

t.test('requester_pays: all of them say so', async t => {
  const { heads } = await headsOf(t, { requesterPays: true });
  t.ok(heads.length >= 12, `${heads.length} requests`);
  t.same(heads.filter(head => !/^x-amz-request-payer: requester\r$/im.test(head)).map(lineOf), []);
});

t.test('storage class, encryption and ACL: whatever makes an object says them', async t => {
  const { heads, s3 } = await headsOf(t, {
    storageClass: 'STANDARD_IA',
    encryption: { algorithm: 'aws:kms', kmsKeyId: 'KEY' },
    acl: 'bucket-owner-full-control',
  });
  const making = heads.filter(head => /^(?:PUT|POST) \S*(?:\/put|\/copy|\?uploads=?) HTTP/.test(head));
  t.ok(making.length >= 3, making.map(lineOf).join(', '));
  for (const head of making) {
    t.match(head, /^x-amz-storage-class: STANDARD_IA\r$/m, lineOf(head));
    t.match(head, /^x-amz-server-side-encryption: aws:kms\r$/m, lineOf(head));
    t.match(head, /^x-amz-server-side-encryption-aws-kms-key-id: KEY\r$/m, lineOf(head));
    t.match(head, /^x-amz-acl: bucket-owner-full-control\r$/m, lineOf(head));
  }
  for (const key of ['copy', 'parts']) t.equal(s3.getObject('works', key)?.storageClass, 'STANDARD_IA', key);
});

t.test('public_bucket: none is signed', async t => {
  const { heads } = await headsOf(t, { anonymous: true }, { verifySignatures: false });
  t.ok(heads.length >= 12, `${heads.length} requests`);
  t.same(heads.filter(head => /^authorization:/im.test(head)).map(lineOf), []);
});
