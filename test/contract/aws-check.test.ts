/** `npm run aws-check`, on the embedded server: it finds what AWS's documentation says, tells what differs, and cleans up. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { EmbeddedChild } from '../support/s3-child.ts';
import { ForeignClient } from '../support/s3-client.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/aws-check.mjs', import.meta.url));
const BUCKET = 'check-bucket';

/** Asynchronous: the server's process shares nothing with this one, but its control connection does. */
async function check(t: Test, args: readonly string[]): Promise<{ code: number; output: string; keys: string[] }> {
  const s3 = await EmbeddedChild.start({ buckets: [BUCKET], args });
  t.teardown(() => s3.stop());
  const child = spawn(
    process.execPath,
    [`--import=${import.meta.resolve('tsx')}`, SCRIPT, BUCKET, `--url=${s3.access.url}`, '--path-style'],
    {
      env: {
        PATH: process.env['PATH'],
        AWS_ACCESS_KEY_ID: s3.access.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.access.secretAccessKey,
      },
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = (await once(child, 'close')) as [number];
  const client = new ForeignClient(s3.access, BUCKET);
  const keys = await client.keys();
  t.equal(await client.openUploads(), 0, 'no upload is left');
  client.close();
  return { code, output, keys };
}

t.test('a store that does as AWS documents', async t => {
  const { code, output, keys } = await check(t, []);
  t.match(output, /\n(3[0-9]|[4-9][0-9]) as expected or noted, 0 differ\n$/);
  t.equal(code, 0);
  t.same(keys, [], 'nothing is left');
});

t.test('a store that does not', async t => {
  const { code, output, keys } = await check(t, ['--mode=noConditionalPut', '--mode=noConditionalComplete']);
  t.match(output, /DIFFERS PutObject, If-Match that does not hold: ok/);
  t.match(output, /DIFFERS CompleteMultipartUpload, If-Match that does not hold: ok/);
  t.equal(code, 1);
  t.same(keys, [], 'nothing is left');
});
