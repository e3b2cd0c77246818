import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import type { EndpointChoice } from '../../src/s3/endpoint.ts';
import { bucketEndpoint, isGlobalAws, pathOf, regionOfUrl } from '../../src/s3/endpoint.ts';

function whereIs(choice: Partial<EndpointChoice>): string {
  const endpoint = bucketEndpoint({ bucket: 'works', region: 'ap-northeast-2', ...choice });
  const { origin, host, basePath, aws } = endpoint;
  return `${origin.id} ${host} ${basePath || '-'}${aws ? ' aws' : ''}`;
}

t.test('where a bucket is', async t => {
  const cases: readonly (readonly [Partial<EndpointChoice>, string])[] = [
    [{}, 'https://works.s3.ap-northeast-2.amazonaws.com:443 works.s3.ap-northeast-2.amazonaws.com - aws'],
    [
      { bucket: 'my.works' },
      'https://s3.ap-northeast-2.amazonaws.com:443 s3.ap-northeast-2.amazonaws.com /my.works aws',
    ],
    [{ pathStyle: true }, 'https://s3.ap-northeast-2.amazonaws.com:443 s3.ap-northeast-2.amazonaws.com /works aws'],
    [
      { region: 'cn-north-1' },
      'https://works.s3.cn-north-1.amazonaws.com.cn:443 works.s3.cn-north-1.amazonaws.com.cn - aws',
    ],
    [
      { url: 'https://s3.amazonaws.com' },
      'https://works.s3.ap-northeast-2.amazonaws.com:443 works.s3.ap-northeast-2.amazonaws.com - aws',
    ],
    [
      { url: 'https://s3-eu-west-1.amazonaws.com/' },
      'https://works.s3-eu-west-1.amazonaws.com:443 works.s3-eu-west-1.amazonaws.com - aws',
    ],
    [
      { url: 'https://works.s3.eu-west-1.amazonaws.com' },
      'https://works.s3.eu-west-1.amazonaws.com:443 works.s3.eu-west-1.amazonaws.com - aws',
    ],
    [
      { url: 'https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com', bucket: 'bucket' },
      'https://bucket.bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com:443 bucket.bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com - aws',
    ],
    [{ url: 'http://127.0.0.1:9000' }, 'http://127.0.0.1:9000 127.0.0.1:9000 /works'],
    [{ url: 'http://[::1]:9000' }, 'http://::1:9000 [::1]:9000 /works'],
    [{ url: 'minio.example.org' }, 'https://minio.example.org:443 minio.example.org /works'],
    [{ url: 'https://s3.example.org:8443/gate/' }, 'https://s3.example.org:8443 s3.example.org:8443 /gate/works'],
    [{ url: 'https://s3.example.org', pathStyle: false }, 'https://works.s3.example.org:443 works.s3.example.org -'],
  ];
  for (const [choice, expected] of cases) t.equal(whereIs(choice), expected, JSON.stringify(choice));
});

t.test('what a URL says about the region', async t => {
  t.equal(regionOfUrl('https://s3.ap-northeast-2.amazonaws.com'), 'ap-northeast-2');
  t.equal(regionOfUrl('https://s3-ap-northeast-2.amazonaws.com'), 'ap-northeast-2');
  t.equal(regionOfUrl('https://s3.dualstack.us-gov-west-1.amazonaws.com'), 'us-gov-west-1');
  t.equal(regionOfUrl('https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com'), 'us-east-1');
  t.equal(regionOfUrl('https://s3.amazonaws.com'), undefined);
  t.equal(regionOfUrl('https://s3.eu-west-1.example.org'), undefined, 'only AWS means it so');
  t.equal(regionOfUrl(undefined), undefined);
  t.equal(isGlobalAws(undefined), true);
  t.equal(isGlobalAws('https://s3.amazonaws.com'), true);
  t.equal(isGlobalAws('https://s3.eu-west-1.amazonaws.com'), false);
});

t.test('paths', async t => {
  const byHost = bucketEndpoint({ bucket: 'works', region: 'eu-west-1' });
  const byPath = bucketEndpoint({ bucket: 'works', region: 'eu-west-1', url: 'http://h' });
  t.equal(pathOf(byHost, undefined), '/');
  t.equal(pathOf(byPath, undefined), '/works');
  t.equal(pathOf(byHost, 'a b//한'), '/a%20b//%ED%95%9C');
  t.equal(pathOf(byPath, '/a'), '/works//a');
  t.throws(() => pathOf(byPath, '\udc00'), StoreError);
});

t.test('names that no bucket can have', async t => {
  for (const bucket of ['', 'a', 'a/b', 'a b', '-x-', 'a\nb', 'bücket']) {
    t.throws(() => bucketEndpoint({ bucket, region: 'eu-west-1' }), StoreError, JSON.stringify(bucket));
  }
});
