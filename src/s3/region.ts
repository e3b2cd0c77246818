/**
 * Which region a bucket is in, when nobody said.
 *
 * 1. What AWS_REGION, the profile or the instance's placement name is where *we* are, mostly where the bucket is, and in a
 *    private subnet the only place that can be reached: the endpoint there is asked, and tells the bucket's region whatever
 *    it is.
 * 2. S3's global endpoint knows all buckets of its part of AWS, but may be out of reach: a name that does not resolve, or packets
 *    that nobody answers. It is asked last, but a little before the others have failed, so that a laptop does not wait for a
 *    metadata service that it does not have.
 * 3. Nothing waits longer than two seconds. Where nobody answers, the nearest guess is used, and the first request says what
 *    is wrong.
 */
import type { Clock } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BucketEndpoint } from './endpoint.ts';
import { originOf, pathOf } from './endpoint.ts';
import { printable } from './error-kinds.ts';
import type { Origin } from './http-connection.ts';
import type { HttpTransport } from './http-transport.ts';
import { InstanceMetadata } from './instance-metadata.ts';
import { encodePath } from './sigv4.ts';

/** For stores that have no regions, and the last resort: S3's first one, which redirects. */
export const FALLBACK_REGION = 'us-east-1';

const REGION_NAME = /^[a-z0-9-]{2,40}$/;
/** Names every bucket's region to anybody, in a header, whatever the status. */
const GLOBAL_HOST = 's3.amazonaws.com';
/** ms for each that is asked, where nobody says otherwise. */
const ASK_MS = 2_000;
/** ms until the global endpoint is asked too: above a round trip round the world, below what a person notices. */
const GLOBAL_AFTER_MS = 400;

/** What AWS_REGION or the profile says, read by the SDK's own code; undefined if nothing. */
export async function configuredRegion(profile?: string): Promise<string | undefined> {
  const { loadConfig, NODE_REGION_CONFIG_FILE_OPTIONS, NODE_REGION_CONFIG_OPTIONS } = await import('./sdk-chain.ts');
  try {
    const read = loadConfig(
      { ...NODE_REGION_CONFIG_OPTIONS, default: '' },
      { ...NODE_REGION_CONFIG_FILE_OPTIONS, ...(profile === undefined ? {} : { profile }) },
    );
    const region = await read();
    return region === '' ? undefined : region;
  } catch {
    // A profile without a region, or no such file.
    return undefined;
  }
}

/** The instance's placement, by its metadata service; undefined where there is none. */
export async function instanceRegion(service: string, clock: Clock, patience?: number): Promise<string | undefined> {
  if (!URL.canParse(service)) return undefined;
  const metadata = new InstanceMetadata(service, clock, patience);
  try {
    const answer = await metadata.get('placement/region');
    return answer?.status === 200 && REGION_NAME.test(answer.text) ? answer.text : undefined;
  } catch {
    return undefined;
  } finally {
    metadata.close();
  }
}

export interface RegionSearch {
  readonly bucket: string;
  /** Asked in turn until the endpoint of one names the bucket's region. */
  readonly guesses: readonly (() => Promise<string | undefined>)[];
  readonly place: (region: string) => BucketEndpoint;
  readonly transport: HttpTransport;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** ms for each that is asked. */
  readonly patience?: number | undefined;
}

/** Never fails: in doubt it is the first guess, or `FALLBACK_REGION`. */
export async function findRegion(search: RegionSearch): Promise<string> {
  const { clock, place, bucket } = search;
  let guess: string | undefined;
  let found: ((region: string) => void) | undefined;
  const settled = new Promise<string>(resolve => {
    found = resolve;
  });
  const askGlobal = async (): Promise<void> => {
    const region = await ask(search, originOf(true, GLOBAL_HOST, 443), GLOBAL_HOST, `/${encodePath(bucket)}`);
    if (region !== undefined) found!(region);
  };
  let global: Promise<void> | undefined;
  const cancel = clock.after(GLOBAL_AFTER_MS, () => {
    global = askGlobal();
  });
  const byGuesses = async (): Promise<void> => {
    const asked = new Set<string>();
    for (const next of search.guesses) {
      const region = await next();
      if (region === undefined || asked.has(region)) continue;
      asked.add(region);
      guess ??= region;
      const endpoint = place(region);
      const named = await ask(search, endpoint.origin, endpoint.host, pathOf(endpoint, undefined));
      if (named === undefined) continue;
      found!(named);
      return;
    }
    cancel();
    global ??= askGlobal();
    await global;
    found!(guess ?? FALLBACK_REGION);
  };
  byGuesses().catch(() => found!(guess ?? FALLBACK_REGION));
  const region = await settled;
  cancel();
  return region;
}

/** Asks without credentials; whoever answers for S3 names the bucket's region. Undefined if no answer does. */
async function ask(search: RegionSearch, origin: Origin, host: string, path: string): Promise<string | undefined> {
  const { transport, telemetry, patience = ASK_MS } = search;
  telemetry.count('s3.HeadBucket');
  try {
    const { head } = await transport.request({
      origin,
      method: 'HEAD',
      head: `HEAD ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
      signal: AbortSignal.timeout(patience),
    });
    const region = head.headers.get('x-amz-bucket-region');
    return region !== undefined && REGION_NAME.test(region) ? region : undefined;
  } catch (error) {
    telemetry.log.debug({ host, reason: printable(String(error)) }, 'the region could not be asked for');
    return undefined;
  }
}
