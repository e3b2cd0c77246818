/** AWS's endpoints by kind and part of the world: what the AWS SDK would use is what we use. */
import { connect } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import t from 'tap';
import { networkOptions } from '../../src/cli/network-options.ts';
import type { OptionValues } from '../../src/cli/option-table.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { bucketEndpoint, type EndpointVariant } from '../../src/s3/endpoint.ts';
import { openS3Store } from '../../src/s3/open-store.ts';

const REGIONS = ['us-east-1', 'ap-northeast-2', 'cn-north-1', 'us-gov-west-1', 'us-iso-east-1', 'us-isob-east-1'];
const accessPoint = (region: string): string => {
  const partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov') ? 'aws-us-gov' : 'aws';
  return `arn:${partition}:s3:${region}:123456789012:accesspoint/reports`;
};

/** What the SDK's rules say; undefined where they refuse. */
async function bySdk(bucket: string, region: string, flags: Flags): Promise<string | undefined> {
  const client = new S3Client({ region, credentials: { accessKeyId: 'x', secretAccessKey: 'x' } });
  try {
    const { url } = client.config.endpointProvider({
      Bucket: bucket,
      Region: region,
      UseDualStack: flags.dualStack,
      UseFIPS: flags.fips,
      Accelerate: flags.accelerate,
      UseGlobalEndpoint: false,
      ForcePathStyle: false,
    } as never);
    return url.href.replace(/\/$/, '');
  } catch {
    return undefined;
  } finally {
    client.destroy();
  }
}

interface Flags {
  readonly dualStack: boolean;
  readonly fips: boolean;
  readonly accelerate: boolean;
}

const BOTH = [false, true];

for (const region of REGIONS) {
  t.test(region, async t => {
    let compared = 0;
    for (const bucket of ['works', 'my.works', accessPoint(region)]) {
      for (const dualStack of BOTH) {
        for (const fips of BOTH) {
          for (const accelerate of BOTH) {
            const flags = { dualStack, fips, accelerate };
            const expected = await bySdk(bucket, region, flags);
            // What the SDK refuses does not exist there; S3 itself says so, too.
            if (expected === undefined) continue;
            const { origin, basePath, scope } = bucketEndpoint({ bucket, region, variant: flags });
            t.equal(`https://${origin.host}${basePath}`, expected, `${bucket} ${JSON.stringify(flags)}`);
            t.equal(scope.region, region);
            compared++;
          }
        }
      }
    }
    t.ok(compared >= 5, `${compared} compared`);
  });
}

t.test('what cannot be', async t => {
  const variant = { accelerate: true };
  t.throws(() => bucketEndpoint({ bucket: 'my.works', region: 'us-east-1', variant }), /its name has dots/);
  t.throws(
    () => bucketEndpoint({ bucket: accessPoint('us-east-1'), region: 'us-east-1', variant }),
    /no transfer acceleration/,
  );
  t.throws(
    () => bucketEndpoint({ bucket: 'arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap', region: 'us-east-1' }),
    /access points in one region/,
  );
});

t.test('interface endpoints', async t => {
  const of = (bucket: string, url: string): string => bucketEndpoint({ bucket, region: 'us-east-1', url }).origin.id;
  t.equal(
    of('works', 'https://bucket.vpce-1a2b-c3.s3.us-east-1.vpce.amazonaws.com'),
    'https://works.bucket.vpce-1a2b-c3.s3.us-east-1.vpce.amazonaws.com:443',
  );
  t.equal(
    of(accessPoint('us-east-1'), 'https://accesspoint.vpce-1a2b-c3.s3.us-east-1.vpce.amazonaws.com'),
    'https://reports-123456789012.accesspoint.vpce-1a2b-c3.s3.us-east-1.vpce.amazonaws.com:443',
  );
});

t.test('by options, and by the variables of the AWS CLI', async t => {
  const hostBy = async (values: OptionValues, env: Record<string, string> = {}): Promise<string> => {
    const { variant } = await networkOptions(values, env, undefined);
    return bucketEndpoint({ bucket: 'works', region: 'us-east-1', variant }).origin.host;
  };
  t.equal(await hostBy({}), 'works.s3.us-east-1.amazonaws.com');
  t.equal(await hostBy({ dual_stack: true }), 'works.s3.dualstack.us-east-1.amazonaws.com');
  t.equal(await hostBy({}, { AWS_USE_DUALSTACK_ENDPOINT: 'true' }), 'works.s3.dualstack.us-east-1.amazonaws.com');
  t.equal(await hostBy({ fips: true }), 'works.s3-fips.us-east-1.amazonaws.com');
  t.equal(await hostBy({ fips: false }, { AWS_USE_FIPS_ENDPOINT: 'true' }), 'works.s3.us-east-1.amazonaws.com');
  t.equal(await hostBy({ transfer_acceleration: true }), 'works.s3-accelerate.amazonaws.com');
});

t.test('requests go there and nowhere else, signed for it', async t => {
  const zone = 'works--use1-az4--x-s3';
  const places: readonly (readonly [host: string, bucket: string, region: string, variant: EndpointVariant])[] = [
    ['works.s3.ap-northeast-2.amazonaws.com', 'works', 'ap-northeast-2', {}],
    ['works.s3.dualstack.us-east-1.amazonaws.com', 'works', 'us-east-1', { dualStack: true }],
    ['works.s3-fips.us-gov-west-1.amazonaws.com', 'works', 'us-gov-west-1', { fips: true }],
    ['works.s3.cn-north-1.amazonaws.com.cn', 'works', 'cn-north-1', {}],
    ['works.s3-accelerate.amazonaws.com', 'works', 'us-east-1', { accelerate: true }],
    ['reports-123456789012.s3-accesspoint.eu-west-1.amazonaws.com', accessPoint('eu-west-1'), 'eu-west-1', {}],
    [`${zone}.s3express-use1-az4.us-east-1.amazonaws.com`, zone, 'us-east-1', {}],
  ];
  for (const [host, bucket, region, variant] of places) {
    const name = bucket.startsWith('arn:') ? 'reports' : bucket;
    const s3 = await startEmbeddedS3({
      tls: { names: [host] },
      buckets: [{ name, region }],
      hostNames: ['s3-accelerate.amazonaws.com'],
    });
    const asked = new Set<string>();
    const store = await openS3Store({
      bucket,
      ...(bucket === zone || bucket.startsWith('arn:') ? {} : { region }),
      variant,
      tls: { ca: s3.ca! },
      credentials: async () => s3.credential,
      // Where each connection is wanted to; it is led to this machine.
      tunnel: origin => {
        asked.add(`${origin.secure ? 'https' : 'http'}://${origin.host}:${origin.port}`);
        const socket = connect({ host: '127.0.0.1', port: s3.port });
        return new Promise((resolve, reject) => {
          socket.once('error', reject);
          socket.once('connect', () => resolve(socket));
        });
      },
    });
    const plain = { headers: {}, metadata: {} };
    const { etag } = await store.put('a key', [Buffer.from('x')], plain, undefined);
    await store.copy({ key: 'a key', etag, size: 1 }, 'b', undefined, undefined);
    const upload = await store.beginUpload('large', plain);
    await upload.complete([await upload.putPart(1, [Buffer.from('y')])], undefined);
    t.same(await store.deleteMany(['a key']), []);
    t.same(s3.listKeys(name), ['b', 'large'], host);
    t.same([...asked], [`https://${host}:443`]);
    t.ok(
      s3.log.every(
        // 412: whether a directory bucket keeps conditions on copies is tried out.
        request => request.bucket === name && (request.status < 300 || (bucket === zone && request.status === 412)),
      ),
      'each was understood and verified',
    );
    await store.close();
    await s3.close();
  }
});
