/** Where a bucket is: host, path style or virtual-host style, and what its requests are signed for. */
import { isIP } from 'node:net';
import { StoreError } from '../errors.ts';
import { zoneOf } from './directory-bucket.ts';
import type { Origin } from './http-connection.ts';
import type { SigningScope } from './sigv4.ts';
import { encodePath } from './sigv4.ts';

export interface BucketEndpoint {
  readonly origin: Origin;
  /** Value of the Host header: with the port unless it is the scheme's own. */
  readonly host: string;
  /** Encoded; stands before `/` and the key: empty, or `/bucket`. */
  readonly basePath: string;
  readonly scope: SigningScope;
  /** Amazon's own S3: conditions and quoted ETags need not be found out. */
  readonly aws: boolean;
  /** A directory bucket (`directory-bucket.ts`): other keys, other listings, other ETags. */
  readonly express?: true;
}

export interface EndpointChoice {
  readonly bucket: string;
  readonly region: string;
  /** Of another provider, or one of AWS's own endpoints. Undefined: the region's. */
  readonly url?: string | undefined;
  /** Undefined: by the host. */
  readonly pathStyle?: boolean | undefined;
  readonly variant?: EndpointVariant | undefined;
}

/** Which of AWS's endpoints, where no URL names one. */
export interface EndpointVariant {
  /** Answers by IPv6 too. */
  readonly dualStack?: boolean | undefined;
  /** With validated cryptography. */
  readonly fips?: boolean | undefined;
  /** Through the nearest edge location; the bucket must allow it. */
  readonly accelerate?: boolean | undefined;
}

const NO_VARIANT: EndpointVariant = {};

const AWS_HOST =
  /(?:^|\.)(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$/;
/** `s3.REGION.`, `s3-REGION.`, `s3.dualstack.REGION.`, `….s3.REGION.vpce.` */
const REGION_IN_HOST = /(?:^|\.)s3[.-](?:dualstack\.|fips\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\./;
/** Endpoints of no region: s3fs's default, and the one that tells a bucket's region. */
const GLOBAL_HOSTS = new Set(['s3.amazonaws.com', 's3-external-1.amazonaws.com']);

/** Reads what a person gave as `url=`. Throws `StoreError` ('invalid'). */
export function parseEndpointUrl(text: string): URL {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new StoreError('invalid', `"${text}" is no endpoint: give it as https://HOST or http://HOST:PORT`);
  }
  return url;
}

/** What `url` says about the region; undefined if nothing. */
export function regionOfUrl(url: string | undefined): string | undefined {
  if (url === undefined) return undefined;
  const { hostname } = parseEndpointUrl(url);
  return AWS_HOST.test(hostname) ? REGION_IN_HOST.exec(hostname)?.[1] : undefined;
}

/** True where `url` (or none) means AWS, but no region of it. */
export function isGlobalAws(url: string | undefined): boolean {
  return url === undefined || GLOBAL_HOSTS.has(parseEndpointUrl(url).hostname);
}

/** The parts of AWS that are apart end differently (AWS General Reference, "Amazon S3 endpoints"; the SDK's partitions). */
const DOMAINS: readonly (readonly [RegExp, string])[] = [
  [/^cn-/, 'amazonaws.com.cn'],
  [/^eusc-/, 'amazonaws.eu'],
  [/^us-iso-/, 'c2s.ic.gov'],
  [/^us-isob-/, 'sc2s.sgov.gov'],
  [/^eu-isoe-/, 'cloud.adc-e.uk'],
  [/^us-isof-/, 'csp.hci.ic.gov'],
];

function domainOf(region: string): string {
  return DOMAINS.find(([pattern]) => pattern.test(region))?.[1] ?? 'amazonaws.com';
}

interface AccessPoint {
  readonly region: string;
  readonly account: string;
  readonly name: string;
}

const ACCESS_POINT = /^arn:aws[a-z-]*:s3:([a-z0-9-]+):(\d{12}):accesspoint[:/]([a-z0-9-]{3,50})$/;

function accessPointOf(bucket: string): AccessPoint | undefined {
  if (!bucket.startsWith('arn:')) return undefined;
  const [, region, account, name] = ACCESS_POINT.exec(bucket) ?? [];
  if (region === undefined || account === undefined || name === undefined) {
    throw new StoreError(
      'invalid',
      `"${bucket}" cannot be mounted: of ARNs only those of access points in one region can be (no multi-region ones, Outposts or Object Lambda)`,
    );
  }
  return { region, account, name };
}

/** Of an access point's ARN; undefined for a bucket. Throws `StoreError` ('invalid'). */
export function accessPointRegion(bucket: string): string | undefined {
  return accessPointOf(bucket)?.region;
}

/** The host of a region's endpoint, without a bucket in front. */
function regionHost(region: string, service: string, { dualStack, fips }: EndpointVariant): string {
  return `${service}${fips ? '-fips' : ''}${dualStack ? '.dualstack' : ''}.${region}.${domainOf(region)}`;
}

export function originOf(secure: boolean, host: string, port: number): Origin {
  return { id: `${secure ? 'https' : 'http'}://${host}:${port}`, secure, host, port };
}

/** An endpoint that has the bucket, or access point, in its name. */
function ownHost(host: string, region: string, service = 's3'): BucketEndpoint {
  return { origin: originOf(true, host, 443), host, basePath: '', scope: { region, service }, aws: true };
}

/** Of AWS's own endpoints, the one of the zone. Throws `StoreError` ('invalid'). */
function zoneHost(bucket: string, zone: string, region: string, variant: EndpointVariant): BucketEndpoint {
  const { accelerate, fips, dualStack } = variant;
  const express = `"${bucket}" is a directory bucket`;
  if (accelerate) throw new StoreError('invalid', `${express}: there is no transfer acceleration for it`);
  if (dualStack) throw new StoreError('invalid', `${express}: its endpoint answers by IPv4 only, leave dual_stack out`);
  const host = `${bucket}.s3express${fips ? '-fips' : ''}-${zone}.${region}.${domainOf(region)}`;
  return { ...ownHost(host, region, 's3express'), express: true };
}

/** Throws `StoreError` ('invalid') for a name that no bucket can have. */
export function bucketEndpoint(choice: EndpointChoice): BucketEndpoint {
  const { bucket, region, variant = NO_VARIANT } = choice;
  const global = isGlobalAws(choice.url);
  const accessPoint = accessPointOf(bucket);
  if (accessPoint) {
    const { name, account, region } = accessPoint;
    if (variant.accelerate) throw new StoreError('invalid', 'there is no transfer acceleration for access points');
    // An interface endpoint for access points is `accesspoint.vpce-…`.
    const base = global ? regionHost(region, 's3-accesspoint', variant) : parseEndpointUrl(choice.url!).host;
    return ownHost(`${name}-${account}.${base}`, region);
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) {
    throw new StoreError('invalid', `"${bucket}" is no bucket name: 3 to 63 small letters, digits, dots and hyphens`);
  }
  const zone = zoneOf(bucket);
  if (zone !== undefined && global) return zoneHost(bucket, zone, region, variant);
  if (global && variant.accelerate) {
    if (bucket.includes('.'))
      throw new StoreError('invalid', `transfer acceleration is not for "${bucket}": its name has dots`);
    if (variant.fips) throw new StoreError('invalid', 'there is no transfer acceleration by FIPS endpoints');
    const dual = variant.dualStack ? '.dualstack' : '';
    return ownHost(`${bucket}.s3-accelerate${dual}.${domainOf(region)}`, region);
  }
  const url = parseEndpointUrl(global ? `https://${regionHost(region, 's3', variant)}` : choice.url!);
  const aws = AWS_HOST.test(url.hostname);
  const secure = url.protocol === 'https:';
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  const ownPath = url.pathname.replace(/\/+$/, '');
  const address = url.hostname.replace(/^\[|\]$/g, '');
  // A dot in the name breaks the wildcard of the certificate; other providers mostly have none at all.
  const byPath = choice.pathStyle ?? (!aws || bucket.includes('.') || isIP(address) !== 0);
  // People also give the bucket's own host. `bucket.vpce-…` is AWS's word, not a name.
  const named = url.hostname.startsWith(`${bucket}.`) && !url.hostname.startsWith('bucket.vpce-');
  const host = byPath || named ? address : `${bucket}.${address}`;
  const shown = url.hostname.startsWith('[') ? `[${host}]` : host;
  return {
    origin: originOf(secure, host, port),
    host: url.port === '' ? shown : `${shown}:${url.port}`,
    basePath: byPath && !named ? `${ownPath}/${encodePath(bucket)}` : ownPath,
    scope: { region, service: zone === undefined ? 's3' : 's3express' },
    aws,
    ...(zone === undefined ? {} : { express: true as const }),
  };
}

/** The encoded path of `key` (with the store's prefix), or of the bucket. Throws `StoreError` ('invalid'). */
export function pathOf(endpoint: BucketEndpoint, key: string | undefined): string {
  if (key === undefined) return endpoint.basePath === '' ? '/' : endpoint.basePath;
  try {
    return `${endpoint.basePath}/${encodePath(key)}`;
  } catch (error) {
    throw new StoreError('invalid', 'a key with half a surrogate pair has no UTF-8', { key, cause: error });
  }
}
