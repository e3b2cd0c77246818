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
  readonly conditions: readonly Condition[];
}

/** `StringLike` or `StringEquals` on one key of the request's context. */
interface Condition {
  /** In lower case: `s3:prefix`. */
  readonly key: string;
  readonly values: readonly RegExp[];
  /** The operator ends in `IfExists`: a request without the key meets it. */
  readonly ifExists: boolean;
}

export type Policy = readonly Statement[];

export interface Wish {
  readonly action: string;
  /** `arn:aws:s3:::bucket` or `arn:aws:s3:::bucket/key`. */
  readonly resource: string;
  /** What conditions may ask for: `s3:prefix`, the prefix of a listing; `kms:viaservice`. */
  readonly context: Readonly<Record<string, string>>;
}

const ACTIONS: Partial<Readonly<Record<Operation, string>>> = {
  ListBuckets: 'ListAllMyBuckets',
  HeadBucket: 'ListBucket',
  ListObjects: 'ListBucket',
  ListObjectsV2: 'ListBucket',
  ListObjectVersions: 'ListBucketVersions',
  ListMultipartUploads: 'ListBucketMultipartUploads',
  GetBucketLifecycleConfiguration: 'GetLifecycleConfiguration',
  PutBucketLifecycleConfiguration: 'PutLifecycleConfiguration',
  GetObjectLockConfiguration: 'GetBucketObjectLockConfiguration',
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

/** `*` and `?` match anything, `${*}`, `${?}` and `${$}` themselves. */
function wildcard(pattern: string, flags = ''): RegExp {
  const source = pattern.replace(/\$\{([*?$])\}|[.+^${}()|[\]\\*?]/g, (found, literal?: string) => {
    if (literal !== undefined) return `\\${literal}`;
    return found === '*' ? '[^]*' : found === '?' ? '[^]' : `\\${found}`;
  });
  return new RegExp(`^${source}$`, flags);
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
    return {
      effect: raw['Effect'],
      everyone: list(typeof principal === 'object' ? (principal as { AWS?: unknown } | null)?.AWS : principal).includes(
        '*',
      ),
      actions: list(raw['Action']).map(action => wildcard(action, 'i')),
      resources: list(raw['Resource']).map(resource => wildcard(resource)),
      conditions: parseConditions(raw['Condition']),
    };
  });
}

const KNOWN_KEYS: ReadonlySet<string> = new Set(['s3:prefix', 'kms:viaservice', 's3express:sessionmode']);

/** A condition that is not understood would be overlooked, and allow what AWS does not: it is an error. */
function parseConditions(raw: unknown): Condition[] {
  const conditions: Condition[] = [];
  for (const [operator, tests] of Object.entries((raw ?? {}) as Record<string, Record<string, unknown>>)) {
    const known = /^String(Like|Equals)(IfExists)?$/.exec(operator);
    for (const [name, values] of Object.entries(tests)) {
      const key = name.toLowerCase();
      if (!known || !KNOWN_KEYS.has(key)) {
        throw new S3Failure('MalformedPolicy', {
          message: `This server does not know the condition ${operator} ${name}`,
        });
      }
      const exact = (text: string): string => text.replace(/[*?$]/g, letter => `\${${letter}}`);
      conditions.push({
        key,
        values: list(values).map(value => wildcard(known[1] === 'Like' ? value : exact(value))),
        ifExists: known[2] !== undefined,
      });
    }
  }
  return conditions;
}

function holds({ key, values, ifExists }: Condition, { context }: Wish): boolean {
  const given = context[key];
  return given === undefined ? ifExists : values.some(value => value.test(given));
}

function verdict(policy: Policy, wish: Wish, applies: (statement: Statement) => boolean): 'Allow' | 'Deny' | undefined {
  let allowed = false;
  for (const statement of policy) {
    if (!applies(statement)) continue;
    if (!statement.actions.some(action => action.test(wish.action))) continue;
    if (!statement.resources.some(resource => resource.test(wish.resource))) continue;
    if (!statement.conditions.every(condition => holds(condition, wish))) continue;
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
    context: { 's3:prefix': fromByteString(prefix) },
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
  if (own === 'Deny' || (own === undefined && byBucket !== 'Allow')) throw notAllowed(wish);
}

function notAllowed({ action, resource }: Wish): S3Failure {
  return new S3Failure('AccessDenied', {
    message: `The identity-based policy does not allow ${action} on ${resource}`,
  });
}

/** The right to use a key of KMS, which its own policy may give too: here only that of the identity counts. */
export function authorizeKms(identity: { readonly policy?: string } | undefined, action: string, key: string): void {
  if (identity?.policy === undefined) return;
  const region = /^arn:[^:]*:kms:([^:]*):/.exec(key)?.[1] ?? 'us-east-1';
  const wish: Wish = {
    action: `kms:${action}`,
    resource: key.startsWith('arn:') ? key : `arn:aws:kms:${region}:000000000000:key/${key}`,
    context: { 'kms:viaservice': `s3.${region}.amazonaws.com` },
  };
  if (verdict(policyOf(identity.policy), wish, () => true) !== 'Allow') throw notAllowed(wish);
}

export type SessionMode = 'ReadWrite' | 'ReadOnly';

/**
 * The mode of a session with a directory bucket: the one that was wished for, else the most that is allowed. Everything else
 * in such a bucket the session decides. Throws AccessDenied.
 */
export function authorizeSession(
  identity: { readonly policy?: string } | undefined,
  bucket: Bucket,
  wished: SessionMode | undefined,
): SessionMode {
  if (identity === undefined) throw new S3Failure('AccessDenied');
  const modes: readonly SessionMode[] = wished === undefined ? ['ReadWrite', 'ReadOnly'] : [wished];
  const { policy } = identity;
  if (policy === undefined) return modes[0]!;
  const wishOf = (mode: string): Wish => ({
    action: 's3express:CreateSession',
    resource: `arn:aws:s3express:${bucket.region}:000000000000:bucket/${bucket.name}`,
    context: { 's3express:sessionmode': mode },
  });
  const mode = modes.find(each => verdict(policyOf(policy), wishOf(each), () => true) === 'Allow');
  if (mode === undefined) throw notAllowed(wishOf('ReadWrite'));
  return mode;
}
