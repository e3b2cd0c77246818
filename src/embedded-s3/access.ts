/** Who may do what: canned ACLs, bucket policies, and IAM-like policies of credentials. */
import { fromByteString } from './byte-string.ts';
import type { Operation } from './route.ts';
import { S3Failure } from './s3-error.ts';
import type { Bucket, StoredObject } from './state.ts';

interface Statement {
  readonly effect: 'Allow' | 'Deny';
  readonly everyone: boolean;
  readonly actions: readonly RegExp[];
  readonly resources: readonly RegExp[];
  /** `StringLike`/`StringEquals` on `s3:prefix`, the condition that folders of a shared bucket are granted with. */
  readonly prefixes: readonly RegExp[] | undefined;
}

export type Policy = readonly Statement[];

export interface Wish {
  readonly action: string;
  /** `arn:aws:s3:::bucket` or `arn:aws:s3:::bucket/key`. */
  readonly resource: string;
  /** The `prefix` of a listing. */
  readonly prefix: string;
}

const ACTIONS: Partial<Readonly<Record<Operation, string>>> = {
  ListBuckets: 'ListAllMyBuckets',
  HeadBucket: 'ListBucket',
  ListObjects: 'ListBucket',
  ListObjectsV2: 'ListBucket',
  ListObjectVersions: 'ListBucketVersions',
  ListMultipartUploads: 'ListBucketMultipartUploads',
  ListParts: 'ListMultipartUploadParts',
  HeadObject: 'GetObject',
  CopyObject: 'PutObject',
  CreateMultipartUpload: 'PutObject',
  UploadPart: 'PutObject',
  UploadPartCopy: 'PutObject',
  CompleteMultipartUpload: 'PutObject',
};

export function actionOf(operation: Operation): string {
  return `s3:${ACTIONS[operation] ?? operation}`;
}

const list = (value: unknown): string[] =>
  (Array.isArray(value) ? value : value === undefined ? [] : [value]).map(item => String(item));

function wildcard(pattern: string, flags = ''): RegExp {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '[^]*').replaceAll('?', '[^]')}$`, flags);
}

/** Reads a policy document. Throws MalformedPolicy. */
export function parsePolicy(json: string): Policy {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw new S3Failure('MalformedPolicy');
  }
  const statements = (parsed as { Statement?: unknown } | null)?.Statement;
  if (statements === undefined) throw new S3Failure('MalformedPolicy', { message: 'Missing required field Statement' });
  return (Array.isArray(statements) ? statements : [statements]).map((raw: Record<string, unknown>) => {
    if (raw['Effect'] !== 'Allow' && raw['Effect'] !== 'Deny') {
      throw new S3Failure('MalformedPolicy', { message: `Invalid effect: ${String(raw['Effect'])}` });
    }
    const principal = raw['Principal'];
    const condition = raw['Condition'] as Record<string, Record<string, unknown>> | undefined;
    const prefixes = [condition?.['StringLike']?.['s3:prefix'], condition?.['StringEquals']?.['s3:prefix']];
    return {
      effect: raw['Effect'],
      everyone: list(typeof principal === 'object' ? (principal as { AWS?: unknown } | null)?.AWS : principal).includes(
        '*',
      ),
      actions: list(raw['Action']).map(action => wildcard(action, 'i')),
      resources: list(raw['Resource']).map(resource => wildcard(resource)),
      prefixes: prefixes.some(one => one !== undefined) ? prefixes.flatMap(list).map(one => wildcard(one)) : undefined,
    };
  });
}

function verdict(policy: Policy, wish: Wish, applies: (statement: Statement) => boolean): 'Allow' | 'Deny' | undefined {
  let allowed = false;
  for (const statement of policy) {
    if (!applies(statement)) continue;
    if (!statement.actions.some(action => action.test(wish.action))) continue;
    if (!statement.resources.some(resource => resource.test(wish.resource))) continue;
    if (statement.prefixes && !statement.prefixes.some(prefix => prefix.test(wish.prefix))) continue;
    if (statement.effect === 'Deny') return 'Deny';
    allowed = true;
  }
  return allowed ? 'Allow' : undefined;
}

const policies = new Map<string, Policy>();

/** Policies are parsed once for each text. */
function policyOf(json: string): Policy {
  let policy = policies.get(json);
  if (policy === undefined) {
    if (policies.size > 100) policies.clear();
    policy = parsePolicy(json);
    policies.set(json, policy);
  }
  return policy;
}

const PUBLIC_READ: ReadonlySet<Operation> = new Set(['GetObject', 'HeadObject']);
const PUBLIC_LIST: ReadonlySet<Operation> = new Set(['ListObjects', 'ListObjectsV2', 'HeadBucket']);

/**
 * Throws AccessDenied unless the request is allowed. `identity` is `undefined` for an anonymous request; the owner may do
 * everything but what a policy denies, a credential with a policy only what that one or the bucket's allows.
 */
export function authorize(
  identity: { readonly policy?: string } | undefined,
  operation: Operation,
  bucket: Bucket | undefined,
  key: string,
  target: StoredObject | undefined,
  prefix: string,
  action = actionOf(operation),
): void {
  const bucketPolicy = bucket?.policy;
  if (identity !== undefined && identity.policy === undefined && bucketPolicy === undefined) return;
  const wish: Wish = {
    action,
    resource: bucket ? `arn:aws:s3:::${bucket.name}${key === '' ? '' : `/${fromByteString(key)}`}` : '*',
    prefix: fromByteString(prefix),
  };
  const byBucket = bucketPolicy === undefined ? undefined : verdict(policyOf(bucketPolicy), wish, one => one.everyone);
  // The owner can always mend a policy that locks everybody out.
  const mending = identity !== undefined && /BucketPolicy$/.test(operation);
  if (byBucket === 'Deny' && !mending) throw new S3Failure('AccessDenied');
  if (identity === undefined) {
    if (byBucket === 'Allow') return;
    if (PUBLIC_READ.has(operation) && target?.attributes.acl.startsWith('public-read')) return;
    if (PUBLIC_LIST.has(operation) && bucket?.acl.startsWith('public-read')) return;
    throw new S3Failure('AccessDenied');
  }
  if (identity.policy === undefined) return;
  const own = verdict(policyOf(identity.policy), wish, () => true);
  if (own === 'Deny' || (own === undefined && byBucket !== 'Allow')) {
    throw new S3Failure('AccessDenied', {
      message: `The identity-based policy does not allow ${wish.action} on ${wish.resource}`,
    });
  }
}
