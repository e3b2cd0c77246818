/** Puts an `S3Store` together: endpoint, region, credentials, transport. The only place that knows all of them. */
import type { Clock } from '../concurrency.ts';
import { systemClock } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { silentTelemetry } from '../telemetry.ts';
import { CredentialCache } from './credentials.ts';
import { type CustomerKeySettings, CustomerKeys } from './customer-keys.ts';
import { regionOfZone, zoneOf } from './directory-bucket.ts';
import type { BucketEndpoint, EndpointVariant } from './endpoint.ts';
import { accessPointRegion, bucketEndpoint, isGlobalAws, regionOfUrl } from './endpoint.ts';
import type { Lookup } from './http-addresses.ts';
import type { ConnectionTimeouts } from './http-connection.ts';
import type { TlsSettings, Tunnel } from './http-pool.ts';
import { DEFAULT_TIMEOUTS, HttpTransport } from './http-transport.ts';
import type { WriteDefaults } from './object-headers.ts';
import { type ProxySettings, proxyRoute } from './proxy.ts';
import type { RegionSearch } from './region.ts';
import { configuredRegion, FALLBACK_REGION, findRegion, instanceRegion } from './region.ts';
import { S3Requests } from './requests.ts';
import type { RetryPolicy } from './retry.ts';
import { DEFAULT_RETRY } from './retry.ts';
import { type ChecksumUse, S3Store } from './s3-store.ts';
import { type SdkCredentials, sdkCredentials } from './sdk-credentials.ts';
import type { Credentials } from './sigv4.ts';
import type { StoreLimits } from './store.ts';
import { S3_LIMITS } from './store.ts';

export interface S3StoreOptions extends WriteDefaults {
  readonly bucket: string;
  /** Stands before every key; a folder ends in `/`. Default: none. */
  readonly prefix?: string;
  /** Endpoint of another provider, or one of AWS's own. Default: AWS, in the bucket's region. */
  readonly url?: string;
  /** Default: that of the URL, of AWS_REGION or the profile; else the bucket's, asked for. A wrong one is corrected. */
  readonly region?: string;
  /** Address of the metadata service that may tell the instance's region; undefined: not asked. */
  readonly instanceMetadata?: string;
  /** Section of ~/.aws/config and ~/.aws/credentials. */
  readonly profile?: string;
  /** Default: virtual-host style on AWS but for names with dots; path style elsewhere. */
  readonly pathStyle?: boolean;
  /** Which of AWS's own endpoints. */
  readonly variant?: EndpointVariant;
  /** Requests go out unsigned. */
  readonly anonymous?: boolean;
  /** Instead of the SDK's whole chain; it may ask `sdk`, which sends through the store's transport. */
  readonly credentials?: (sdk: SdkCredentials) => Promise<Credentials>;
  /**
   * ms; those not given have `DEFAULT_TIMEOUTS`. `work`: to the first byte of what the server takes long to do (copies,
   * completing an upload); default 5 minutes. `region`: for each that is asked for the bucket's region; default 2 s.
   */
  readonly timeouts?: Partial<ConnectionTimeouts & { readonly work: number; readonly region: number }>;
  /** Those not given have `DEFAULT_RETRY`. */
  readonly retry?: Partial<RetryPolicy>;
  /** Default 256. */
  readonly maxConnections?: number;
  /** `ca` is AWS_CA_BUNDLE; NODE_EXTRA_CA_CERTS needs no option. */
  readonly tls?: TlsSettings;
  readonly requesterPays?: boolean;
  /** Keys that the customer keeps (SSE-C). */
  readonly customerKeys?: CustomerKeySettings;
  /** Hash bodies into the signature; default `unchecked`. See `RequestsOptions`. */
  readonly signPayload?: 'unchecked' | 'http' | 'always' | 'never';
  /** Send checksums with what is written, and compare what is read; default all. */
  readonly checksums?: ChecksumUse;
  readonly limits?: Partial<StoreLimits>;
  readonly telemetry?: Telemetry;
  readonly clock?: Clock;
  /** For the spread of waits; default `Math.random`. */
  readonly random?: () => number;
  /** Resolves names; default the system's resolver. */
  readonly lookup?: Lookup;
  /** HTTP proxies, for whatever goes out but to the metadata services. */
  readonly proxy?: ProxySettings;
  /** Leads connections through something else. */
  readonly tunnel?: Tunnel;
}

/** S3 sends signs of life while it copies some GiB or joins 10,000 parts; stores that do not take minutes: ms. */
const WORK_MS = 300_000;

/** Makes the store. Looks for the region if it must; `probe()` then tells whether all is right. Throws `StoreError`. */
export async function openS3Store(options: S3StoreOptions): Promise<S3Store> {
  const { bucket, profile, url, pathStyle, prefix = '' } = options;
  if (zoneOf(bucket) !== undefined) expectForDirectoryBucket(options);
  const clock = options.clock ?? systemClock;
  const telemetry = options.telemetry ?? silentTelemetry;
  const retry = { ...DEFAULT_RETRY, ...options.retry };
  const place = (region: string, at = url): BucketEndpoint =>
    bucketEndpoint({ bucket, region, url: at, pathStyle, variant: options.variant });
  // Said before any request: a name or URL that cannot be.
  place(FALLBACK_REGION);
  const { work: workTimeout = WORK_MS, region: patience, ...given } = options.timeouts ?? {};
  const timeouts = { ...DEFAULT_TIMEOUTS, ...given };
  const route = options.proxy && proxyRoute(options.proxy, timeouts, options.tls?.ca);
  const transport = new HttpTransport({
    timeouts,
    clock,
    ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
    ...(options.tls ? { tls: options.tls } : {}),
    ...(options.lookup ? { lookup: options.lookup } : {}),
    ...(options.tunnel ? { tunnel: options.tunnel } : {}),
    ...(route ? { tunnel: route.tunnel, headFor: route.headFor } : {}),
  });
  const sdk = sdkCredentials(transport);
  const { credentials: find = () => sdk({ profile }) } = options;
  const provider = options.anonymous ? undefined : () => find(sdk);
  const credentials = new CredentialCache(provider, clock, telemetry);
  // Looked for while the region is: both may ask the network. A failure shows when they are needed.
  const early = credentials.current();
  if (early instanceof Promise) early.catch(() => {});
  const endpoint = place(await regionFor(options, { place, transport, telemetry, clock, patience }));
  const requests = new S3Requests(endpoint, {
    bucket,
    prefix,
    transport,
    credentials,
    retry,
    clock,
    telemetry,
    random: options.random ?? Math.random,
    workTimeout,
    requesterPays: options.requesterPays ?? false,
    customerKeys: options.customerKeys && new CustomerKeys(options.customerKeys),
    signPayload: options.signPayload ?? 'unchecked',
    // An endpoint of AWS that is the wrong one is left for the right one; other providers have one endpoint.
    relocate: region => place(region, endpoint.aws ? undefined : url),
  });
  const { storageClass, encryption, acl, checksums = 'all' } = options;
  return new S3Store({
    requests,
    writeDefaults: {
      ...(storageClass === undefined ? {} : { storageClass }),
      ...(encryption === undefined ? {} : { encryption }),
      ...(acl === undefined ? {} : { acl }),
    },
    limits: {
      ...S3_LIMITS,
      consecutiveParts: checksums !== 'none' || (endpoint.express ?? false),
      ...options.limits,
    },
    orderedListing: !endpoint.express,
    checksums,
    probeRetry: { ...retry, attempts: Math.min(retry.attempts, 3), deadline: 5_000, longest: 500 },
  });
}

/** What S3 would refuse with each request is said before the first one. Throws `StoreError` ('invalid'). */
function expectForDirectoryBucket({
  bucket,
  anonymous,
  acl,
  customerKeys,
  requesterPays,
  storageClass,
}: S3StoreOptions): void {
  const cannot = (what: string): StoreError => new StoreError('invalid', `"${bucket}" is a directory bucket: ${what}`);
  if (anonymous) throw cannot('it cannot be read without credentials, leave public_bucket out');
  if (acl !== undefined) throw cannot('it has no ACLs, leave default_acl out');
  if (customerKeys) throw cannot('it takes no keys of your own (SSE-C), leave use_sse=custom out');
  if (requesterPays) throw cannot('requests are paid by its owner, leave requester_pays out');
  if (storageClass !== undefined) throw cannot('it has one storage class only, leave storage_class out');
}

async function regionFor(
  options: S3StoreOptions,
  parts: Pick<RegionSearch, 'place' | 'transport' | 'telemetry' | 'clock' | 'patience'>,
): Promise<string> {
  const { bucket, profile, url, instanceMetadata } = options;
  const said = options.region ?? accessPointRegion(bucket) ?? regionOfUrl(url);
  if (said !== undefined) return said;
  const zone = zoneOf(bucket);
  const ofZone = zone === undefined ? undefined : regionOfZone(zone);
  // The global endpoint knows no directory buckets.
  if (ofZone !== undefined) return ofZone;
  if (!isGlobalAws(url)) return FALLBACK_REGION;
  const guesses = [() => configuredRegion(profile)];
  if (instanceMetadata !== undefined) guesses.push(() => instanceRegion(instanceMetadata, parts.clock, parts.patience));
  return await findRegion({ ...parts, bucket, guesses });
}
