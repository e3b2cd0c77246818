/** Puts an `S3Store` together: endpoint, region, credentials, transport. The only place that knows all of them. */
import type { Clock } from '../concurrency.ts';
import { systemClock } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { silentTelemetry } from '../telemetry.ts';
import { CredentialCache } from './credentials.ts';
import type { BucketEndpoint } from './endpoint.ts';
import { bucketEndpoint, isGlobalAws, regionOfUrl } from './endpoint.ts';
import type { Lookup } from './http-addresses.ts';
import type { ConnectionTimeouts } from './http-connection.ts';
import type { Tunnel } from './http-pool.ts';
import { DEFAULT_TIMEOUTS, HttpTransport } from './http-transport.ts';
import type { WriteDefaults } from './object-headers.ts';
import { askRegion, configuredRegion, FALLBACK_REGION } from './region.ts';
import { S3Requests } from './requests.ts';
import type { RetryPolicy } from './retry.ts';
import { DEFAULT_RETRY } from './retry.ts';
import { S3Store } from './s3-store.ts';
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
  /** Section of ~/.aws/config and ~/.aws/credentials. */
  readonly profile?: string;
  /** Default: virtual-host style on AWS but for names with dots; path style elsewhere. */
  readonly pathStyle?: boolean;
  /** Requests go out unsigned. */
  readonly anonymous?: boolean;
  /** Instead of the SDK's whole chain; it may ask `sdk`, which sends through the store's transport. */
  readonly credentials?: (sdk: SdkCredentials) => Promise<Credentials>;
  /** ms; those not given have `DEFAULT_TIMEOUTS`. */
  readonly timeouts?: Partial<ConnectionTimeouts>;
  /** Those not given have `DEFAULT_RETRY`. */
  readonly retry?: Partial<RetryPolicy>;
  /** Default 256. */
  readonly maxConnections?: number;
  /** PEM certificates to trust instead of the system's (AWS_CA_BUNDLE). NODE_EXTRA_CA_CERTS needs no option. */
  readonly ca?: string;
  readonly requesterPays?: boolean;
  /** Hash bodies into the signature: over plain HTTP only (default), always, or never. */
  readonly signPayload?: 'http' | 'always' | 'never';
  readonly limits?: Partial<StoreLimits>;
  readonly telemetry?: Telemetry;
  readonly clock?: Clock;
  /** For the spread of waits; default `Math.random`. */
  readonly random?: () => number;
  /** Resolves names; default the system's resolver. */
  readonly lookup?: Lookup;
  /** Leads connections through something, such as a proxy. */
  readonly tunnel?: Tunnel;
}

/** ms for asking a bucket's region: a box that cannot reach S3's global name should not wait for it. */
const ASK_REGION_MS = 2_000;

/** Makes the store. Looks for the region if it must; `probe()` then tells whether all is right. Throws `StoreError`. */
export async function openS3Store(options: S3StoreOptions): Promise<S3Store> {
  const { bucket, profile, url, pathStyle, prefix = '' } = options;
  if (bucket.endsWith('--x-s3')) {
    throw new StoreError(
      'not-implemented',
      `"${bucket}" is a directory bucket (S3 Express), which cannot be mounted yet`,
    );
  }
  const clock = options.clock ?? systemClock;
  const telemetry = options.telemetry ?? silentTelemetry;
  const retry = { ...DEFAULT_RETRY, ...options.retry };
  const place = (region: string, at = url): BucketEndpoint => bucketEndpoint({ bucket, region, url: at, pathStyle });
  // Said before any request: a name or URL that cannot be.
  place(FALLBACK_REGION);
  const transport = new HttpTransport({
    timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
    clock,
    ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.lookup ? { lookup: options.lookup } : {}),
    ...(options.tunnel ? { tunnel: options.tunnel } : {}),
  });
  const sdk = sdkCredentials(transport);
  const { credentials: find = () => sdk({ profile }) } = options;
  const provider = options.anonymous ? undefined : () => find(sdk);
  const credentials = new CredentialCache(provider, clock, telemetry);
  // Looked for while the region is: both may ask the network. A failure shows when they are needed.
  const early = credentials.current();
  if (early instanceof Promise) early.catch(() => {});
  const endpoint = place(await regionFor(options, transport, telemetry));
  const requests = new S3Requests(endpoint, {
    bucket,
    prefix,
    transport,
    credentials,
    retry,
    clock,
    telemetry,
    random: options.random ?? Math.random,
    requesterPays: options.requesterPays ?? false,
    signPayload: options.signPayload ?? 'http',
    // An endpoint of AWS that is the wrong one is left for the right one; other providers have one endpoint.
    relocate: region => place(region, endpoint.aws ? undefined : url),
  });
  const { storageClass, encryption, acl } = options;
  return new S3Store({
    requests,
    writeDefaults: {
      ...(storageClass === undefined ? {} : { storageClass }),
      ...(encryption === undefined ? {} : { encryption }),
      ...(acl === undefined ? {} : { acl }),
    },
    limits: { ...S3_LIMITS, ...options.limits },
    orderedListing: true,
    probeRetry: { ...retry, attempts: Math.min(retry.attempts, 3), deadline: 5_000, longest: 500 },
  });
}

async function regionFor(options: S3StoreOptions, transport: HttpTransport, telemetry: Telemetry): Promise<string> {
  const said = options.region ?? regionOfUrl(options.url);
  if (said !== undefined) return said;
  if (!isGlobalAws(options.url)) return FALLBACK_REGION;
  const configured = await configuredRegion(options.profile);
  if (configured !== undefined) return configured;
  return (await askRegion(transport, options.bucket, ASK_REGION_MS, telemetry)) ?? FALLBACK_REGION;
}
