/** Which region a bucket is in, when nobody said. */
import type { Telemetry } from '../telemetry.ts';
import { originOf } from './endpoint.ts';
import { printable } from './error-kinds.ts';
import type { HttpTransport } from './http-transport.ts';
import { encodePath } from './sigv4.ts';

/** For stores that have no regions, and the last resort: S3's first one, which redirects. */
export const FALLBACK_REGION = 'us-east-1';

const REGION_NAME = /^[a-z0-9-]{2,40}$/;
/** Names every bucket's region to anybody, in a header, whatever the status. */
const GLOBAL_HOST = 's3.amazonaws.com';

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

/**
 * Asks AWS, without credentials. Path style: the name `BUCKET.s3.amazonaws.com` need not resolve where only some of S3's
 * names do. Undefined if no answer names one. `timeout` in ms.
 */
export async function askRegion(
  transport: HttpTransport,
  bucket: string,
  timeout: number,
  telemetry: Telemetry,
): Promise<string | undefined> {
  telemetry.count('s3.HeadBucket');
  try {
    const { head } = await transport.request({
      origin: originOf(true, GLOBAL_HOST, 443),
      method: 'HEAD',
      head: `HEAD /${encodePath(bucket)} HTTP/1.1\r\nhost: ${GLOBAL_HOST}\r\n\r\n`,
      signal: AbortSignal.timeout(timeout),
    });
    const region = head.headers.get('x-amz-bucket-region');
    return region !== undefined && REGION_NAME.test(region) ? region : undefined;
  } catch (error) {
    telemetry.log.debug({ reason: printable(String(error)) }, 'the region could not be asked for');
    return undefined;
  }
}
