/**
 * What an S3 endpoint must answer for the mount to stand on it: named checks of AWS's documented behaviour, run against
 * the embedded server in each test run, and against any other store by whoever wants to know how it differs.
 */
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import { ACCESS_CHECKS } from './s3-endpoint/access.ts';
import { CHECKSUM_CHECKS, CONDITION_CHECKS } from './s3-endpoint/conditions.ts';
import { DELETION_CHECKS, KEY_CHECKS, LISTING_CHECKS } from './s3-endpoint/listings.ts';
import { COPY_CHECKS, MULTIPART_CHECKS } from './s3-endpoint/multipart.ts';
import { OBJECT_CHECKS } from './s3-endpoint/objects.ts';
import { type Check, type Endpoint, Scene } from './s3-endpoint/scene.ts';

export type { Endpoint } from './s3-endpoint/scene.ts';

export const ENDPOINT_CHECKS: readonly Check[] = [
  ...OBJECT_CHECKS,
  ...CONDITION_CHECKS,
  ...CHECKSUM_CHECKS,
  ...COPY_CHECKS,
  ...MULTIPART_CHECKS,
  ...LISTING_CHECKS,
  ...KEY_CHECKS,
  ...DELETION_CHECKS,
  // Last, for they set a policy on the bucket.
  ...ACCESS_CHECKS,
];

export interface EndpointResult {
  readonly name: string;
  /** Absent: it answered as S3 does. */
  readonly failure: string | undefined;
}

/** An answer that does not come at all fails its check, not the whole run. ms. */
const PATIENCE = 20_000;

async function attempt(check: Check, scene: Scene): Promise<EndpointResult> {
  const [name, run] = check;
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE / 1000} s`)), PATIENCE);
    });
    await Promise.race([run(scene), late]);
    return { name, failure: undefined };
  } catch (error) {
    return { name, failure: error instanceof Error ? error.message.slice(0, 300) : String(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** Makes a bucket of its own and runs all checks, one after another. Throws if not even the bucket can be made. */
export async function runEndpointChecks(endpoint: Endpoint, bucket: string): Promise<EndpointResult[]> {
  const scene = new Scene(endpoint, bucket);
  try {
    await scene.client.send(new CreateBucketCommand({ Bucket: bucket }));
    const results: EndpointResult[] = [];
    for (const check of ENDPOINT_CHECKS) results.push(await attempt(check, scene));
    return results;
  } finally {
    scene.close();
  }
}
