/** Which bucket and key a request means, and which region's endpoint it was sent to, from its Host and path. */
import { percentDecode } from './byte-string.ts';
import { S3Failure } from './s3-error.ts';

export interface Address {
  /** Empty: the service itself. */
  readonly bucket: string;
  /** A byte string; empty: the bucket itself. */
  readonly key: string;
  /** The whole path, decoded: what is signed. */
  readonly path: string;
  readonly virtualHost: boolean;
  /** The region in the endpoint's name; `global` for `s3.amazonaws.com`; absent for any other name. */
  readonly endpointRegion: string | undefined;
}

const AWS_HOST = /^(?:(.+)\.)?s3(?:-fips)?(?:[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?$/;

/** `NAME-ACCOUNT.s3-accesspoint.REGION…`; here an access point has the name of its bucket. */
const ACCESS_POINT_HOST =
  /^(.+)-\d{12}\.s3-accesspoint(?:-fips)?(?:\.dualstack)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$/;

/** `NAME--ZONE--x-s3.s3express-ZONE.REGION…` */
const ZONE_HOST = /^(.+--xa?-s3)\.s3express(?:-fips)?-[a-z0-9-]+\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$/;

function hostParts(host: string, names: readonly string[]): { bucket: string; region: string | undefined } {
  const name = (host.startsWith('[') ? host.replace(/\]:\d+$/, ']') : host.replace(/:\d+$/, '')).toLowerCase();
  const accessPoint = ACCESS_POINT_HOST.exec(name);
  if (accessPoint) return { bucket: accessPoint[1]!, region: accessPoint[2]! };
  const zone = ZONE_HOST.exec(name);
  if (zone) return { bucket: zone[1]!, region: zone[2]! };
  const aws = AWS_HOST.exec(name);
  if (aws) return { bucket: aws[1] ?? '', region: aws[2] ?? 'global' };
  for (const known of names) {
    if (name === known) return { bucket: '', region: undefined };
    if (name.endsWith(`.${known}`)) return { bucket: name.slice(0, -known.length - 1), region: undefined };
  }
  if (name.endsWith('.localhost')) return { bucket: name.slice(0, -10).replace(/\.s3$|^s3$/, ''), region: undefined };
  return { bucket: '', region: undefined };
}

/** `names`: further host names of this server, which may have a bucket's name in front. */
export function parseAddress(rawPath: string, host: string, names: readonly string[]): Address {
  const path = percentDecode(rawPath);
  if (path === undefined) throw new S3Failure('InvalidURI');
  const { bucket, region } = hostParts(host, names);
  if (bucket !== '') return { bucket, key: path.slice(1), path, virtualHost: true, endpointRegion: region };
  const slash = path.indexOf('/', 1);
  return {
    bucket: slash < 0 ? path.slice(1) : path.slice(1, slash),
    key: slash < 0 ? '' : path.slice(slash + 1),
    path,
    virtualHost: false,
    endpointRegion: region,
  };
}

/** Name and value, decoded, in the order of the URL. A name without `=` has the value ''. */
export function parseQuery(raw: string): [string, string][] {
  if (raw === '') return [];
  const pairs: [string, string][] = [];
  for (const item of raw.split('&')) {
    if (item === '') continue;
    const equals = item.indexOf('=');
    const name = percentDecode((equals < 0 ? item : item.slice(0, equals)).replaceAll('+', ' '));
    const value = equals < 0 ? '' : percentDecode(item.slice(equals + 1).replaceAll('+', ' '));
    if (name === undefined || value === undefined) throw new S3Failure('InvalidURI');
    pairs.push([name, value]);
  }
  return pairs;
}

/** The bucket and key that `x-amz-copy-source` names, decoded: `bucket/key`, or an access point's ARN with `/object/key`. */
export function parseCopySource(text: string): { readonly bucket: string; readonly key: string } | undefined {
  const decoded = percentDecode(text.replace(/^\//, ''));
  const byArn = /^arn:[^:]*:s3:[^:]*:\d{12}:accesspoint\/([^/]+)\/object\/(.+)$/s.exec(decoded ?? '');
  if (byArn) return { bucket: byArn[1]!, key: byArn[2]! };
  const slash = decoded?.indexOf('/') ?? -1;
  if (decoded === undefined || slash < 1 || slash === decoded.length - 1) return undefined;
  return { bucket: decoded.slice(0, slash), key: decoded.slice(slash + 1) };
}
