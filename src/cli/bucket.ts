/** Reads the ways in which people write a bucket: `b`, `b:/path`, `b:prefix`, `s3://b/prefix/`, an ARN, `s3fs#b`. */
import { usageError } from './exit-codes.ts';

export interface BucketPlace {
  /** A bucket's name, or the ARN of an access point. */
  readonly bucket: string;
  /** Empty, or ends in `/` and does not start with one. */
  readonly prefix: string;
}

/** Wider than AWS's rules of today: old buckets and other stores have capitals and underscores. */
const BUCKET_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;

export function parseBucket(text: string): BucketPlace {
  // Old fstab lines of s3fs: `s3fs#bucket /mnt fuse …`.
  const place = text.replace(/^(s3fs|s3mount)#/, '');
  if (place.startsWith('arn:')) return parseArn(place);
  const uri = /^s3a?:\/\/([^/]*)(\/.*)?$/s.exec(place);
  if (uri) return checked(text, uri[1]!, uri[2] ?? '');
  if (place.includes('://')) {
    throw usageError(
      `'${text}' is no bucket: write BUCKET, BUCKET:/path or s3://BUCKET/path, and an address as -o url=….`,
    );
  }
  const colon = place.indexOf(':');
  if (colon >= 0) return checked(text, place.slice(0, colon), place.slice(colon + 1));
  if (place.includes('/')) {
    throw usageError(`'${text}' is no bucket: a path in a bucket is written BUCKET:/path or s3://BUCKET/path.`);
  }
  return checked(text, place, '');
}

function parseArn(text: string): BucketPlace {
  const plain = /^arn:[a-z0-9-]+:s3:::([^/:]+)(?::?(\/.*))?$/s.exec(text);
  if (plain) return checked(text, plain[1]!, plain[2] ?? '');
  const accessPoint =
    /^(arn:[a-z0-9-]+:s3[a-z0-9-]*:[a-z0-9-]*:[0-9]*:accesspoint[/:][A-Za-z0-9._-]+)(?::?(\/.*))?$/s.exec(text);
  if (accessPoint) return { bucket: accessPoint[1]!, prefix: prefixOf(accessPoint[2] ?? '') };
  throw usageError(`'${text}' is neither the ARN of a bucket nor of an access point.`);
}

function checked(text: string, bucket: string, path: string): BucketPlace {
  if (!BUCKET_NAME.test(bucket)) {
    throw usageError(
      `'${text}' holds no name of a bucket: '${bucket}' should be 3 to 63 letters, digits, dots and hyphens.`,
    );
  }
  return { bucket, prefix: prefixOf(path) };
}

function prefixOf(path: string): string {
  const bare = path.replace(/^\/+/, '').replace(/\/+$/, '');
  return bare === '' ? '' : `${bare}/`;
}
