/**
 * The embedded server against the checks of an S3 endpoint. Another one, such as Ceph RGW:
 * `S3_ENDPOINT=http://… S3_ACCESS_KEY=… S3_SECRET_KEY=… [S3_REGION=…] [S3_ENDPOINT_MIN=78] npx tap test/contract/s3-endpoint.test.ts`
 */
import t from 'tap';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { ENDPOINT_CHECKS, type Endpoint, runEndpointChecks } from './s3-endpoint.ts';

const { S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION, S3_ENDPOINT_MIN } = process.env;

/** What other stores are held to unless the caller knows them to be worse. */
const OTHERS_MUST = 90;

if (S3_ENDPOINT !== undefined) {
  t.test(`${S3_ENDPOINT} answers as S3 does`, async t => {
    const endpoint: Endpoint = {
      url: S3_ENDPOINT,
      region: S3_REGION ?? 'us-east-1',
      accessKeyId: S3_ACCESS_KEY ?? '',
      secretAccessKey: S3_SECRET_KEY ?? '',
    };
    const results = await runEndpointChecks(endpoint, `s3mount-check-${Date.now().toString(36)}`);
    const failed = results.filter(one => one.failure !== undefined);
    for (const { name, failure } of failed) t.comment(`differs: ${name}: ${failure}`);
    t.comment(`${results.length - failed.length} of ${results.length} checks hold`);
    t.ok(results.length - failed.length >= Number(S3_ENDPOINT_MIN ?? OTHERS_MUST), 'enough of them hold');
  });
} else {
  for (const tls of [false, true]) {
    t.test(`the embedded server answers as S3 does, by ${tls ? 'https' : 'http'}`, async t => {
      const server = await startEmbeddedS3(tls ? { tls: true } : {});
      t.teardown(() => server.close());
      const results = await runEndpointChecks(
        { url: server.url, region: server.region, ...server.credential, ca: server.ca },
        'contract',
      );
      for (const { name, failure } of results) t.equal(failure, undefined, name);
      t.equal(results.length, ENDPOINT_CHECKS.length);
      t.ok(results.length >= 90, `${results.length} checks, at least the 90 that were promised`);
    });
  }
}
