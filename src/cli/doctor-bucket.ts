/**
 * Tries on a bucket what a mount will do there: each right with the operation that needs it, on a key of its own below
 * `_s3mount/`, which is removed again; and looks what the bucket is like.
 */
import { randomBytes } from 'node:crypto';
import { isStoreError, StoreError } from '../errors.ts';
import type { S3Store } from '../s3/s3-store.ts';
import type { ListedObject, ObjectInfo } from '../s3/store.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';
import { explainFailure } from './failures.ts';
import { type Finding, finding } from './findings.ts';

export interface BucketPatient {
  readonly store: S3Store;
  readonly readOnly: boolean;
  /** It goes out unsigned. */
  readonly anonymous: boolean;
  /** Told as it is found: some of it takes a while. */
  readonly tell: (finding: Finding) => void;
}

/** S3 refuses requests from 15 minutes on. */
const SKEW_WARN_MS = 60_000;
/** Above this a HEAD is felt in every `ls`: the bucket is on another continent. */
const FAR_MS = 100;
const LATENCY_TRIES = 5;

const PLAIN = { headers: {}, metadata: {} };
const BODY = [Buffer.from('written by s3mount doctor\n')];

export async function examineBucket(patient: BucketPatient): Promise<void> {
  const { store, tell, readOnly } = patient;
  const found = await reach(patient);
  if (!found) return;
  if (readOnly) {
    if (found.sample !== undefined) await tryReading(patient, found.sample);
  } else {
    await tryWriting(patient);
  }
  await describeBucket(patient);
  const median = await latency(store);
  const text = `${median.toFixed(median < 10 ? 1 : 0)} ms for a request (median of ${LATENCY_TRIES})`;
  if (median < FAR_MS) tell(finding.ok('latency', text));
  else tell(finding.warn('latency', text, 'mount from the region of the bucket, or raise stat_cache_expire'));
}

/** Whether the bucket answers at all: credentials, region, clock. */
async function reach({
  store,
  tell,
  anonymous,
}: BucketPatient): Promise<{ sample: ListedObject | undefined } | undefined> {
  const before = Date.now();
  let page: Awaited<ReturnType<S3Store['list']>>;
  try {
    await store.probe();
    page = await store.list({ prefix: '', maxKeys: 10 });
  } catch (error) {
    const explained = explainFailure(error);
    const said = explained instanceof CliError ? explained : new CliError(EXIT.bug, String(error));
    const { exitCode } = said;
    const about = exitCode === EXIT.credentials ? 'credentials' : exitCode === EXIT.network ? 'network' : 'bucket';
    const source = store.credentialSource;
    tell(
      finding.fail(
        about,
        said.message.replace(/\.$/, ''),
        source === undefined ? 'see docs/CREDENTIALS.md' : `the keys came from ${source}`,
        exitCode,
      ),
    );
    return undefined;
  }
  const { endpoint, region, bucket, prefix } = store.place;
  tell(finding.ok('credentials', anonymous ? 'none are sent' : `from ${store.credentialSource ?? 'a provider'}`));
  tell(finding.ok('region', `${region}, by ${endpoint}`));
  tell(finding.ok('list', `s3:ListBucket on ${bucket}${prefix === '' ? '' : ` below ${prefix}`}`));
  tell(clock(page.serverDate, before));
  const files = page.objects.filter(({ key }) => !key.endsWith('/'));
  return { sample: files.find(({ size }) => size > 0) ?? files[0] };
}

function clock(serverDate: number, before: number): Finding {
  // The server's clock has whole seconds.
  const skew = serverDate - (before + Date.now()) / 2;
  const seconds = Math.round(skew / 1000);
  if (Math.abs(skew) < SKEW_WARN_MS) return finding.ok('clock', `${Math.abs(seconds)} s apart from S3's`);
  return finding.warn(
    'clock',
    `${Math.abs(seconds)} s ${seconds > 0 ? 'behind' : 'ahead of'} S3's`,
    'run: timedatectl set-ntp true',
  );
}

async function tryRight(
  { tell }: BucketPatient,
  about: string,
  actions: string,
  work: () => Promise<unknown>,
): Promise<boolean> {
  try {
    await work();
    tell(finding.ok(about, actions));
    return true;
  } catch (error) {
    tell(rightFinding(about, actions, error));
    return false;
  }
}

function rightFinding(about: string, actions: string, error: unknown): Finding {
  if (!(error instanceof StoreError)) throw error;
  const code: ExitCode = error.kind === 'forbidden' ? EXIT.forbidden : EXIT.network;
  if (/Object Lock/i.test(error.message)) {
    return finding.fail(
      about,
      error.message,
      'buckets with Object Lock demand checksums: mount without checksum=none',
      code,
    );
  }
  const advice =
    error.kind === 'forbidden'
      ? `${actions} is missing; s3mount iam-policy prints what is needed, or mount with ro`
      : 'the store did not do it; see docs/SEMANTICS.md for what other stores lack';
  return finding.fail(about, error.message, advice, code);
}

/** By a byte of what is there: a HEAD is answered also where the key of KMS may not be used. */
async function tryReading(patient: BucketPatient, { key, size }: ListedObject): Promise<void> {
  const { store } = patient;
  await tryRight(patient, 'read', 's3:GetObject', async () => {
    if (size === 0) return store.head(key);
    return store.get(key, { offset: 0, length: 1 }, { buffers: [Buffer.alloc(1)] }).catch(error => {
      if (!isStoreError(error, 'archived')) throw error;
    });
  });
}

/** Each operation of a mount that changes something, on a key of its own. */
async function tryWriting(patient: BucketPatient): Promise<void> {
  const { store, tell } = patient;
  const key = `_s3mount/doctor/${randomBytes(8).toString('hex')}`;
  const others: string[] = [];
  let info: ObjectInfo | undefined;
  const written = await tryRight(patient, 'write', 's3:PutObject', () =>
    store.put(key, BODY, PLAIN, { ifAbsent: true }),
  );
  if (!written) return;
  try {
    await tryRight(patient, 'read', 's3:GetObject', async () => {
      info = await store.head(key);
      await store.get(key, { offset: 0, length: info.size }, { buffers: [Buffer.alloc(info.size)] });
    });
    if (info) {
      const source = info;
      await tryRight(patient, 'copy', 's3:GetObject and s3:PutObject, for rename and chmod', async () => {
        others.push(`${key}-copy`);
        await store.copy(source, `${key}-copy`, undefined, undefined);
      });
    }
    await tryRight(patient, 'tags', 's3:GetObjectTagging and s3:PutObjectTagging', async () => {
      others.push(`${key}-tagged`);
      await store.put(`${key}-tagged`, BODY, { ...PLAIN, tags: [['s3mount', 'doctor']] }, undefined);
      await store.tags(`${key}-tagged`);
    });
    await tryRight(patient, 'upload', 'in parts: s3:PutObject and s3:AbortMultipartUpload', async () => {
      others.push(`${key}-parts`);
      const upload = await store.beginUpload(`${key}-parts`, PLAIN);
      await upload.complete([await upload.putPart(1, BODY)], undefined);
      await (await store.beginUpload(`${key}-parts`, PLAIN)).abort();
    });
    tell(await conditions(store, key));
    const compared = checksums(store);
    if (compared) tell(compared);
  } finally {
    await tryRight(patient, 'delete', 's3:DeleteObject', async () => {
      await store.delete(key);
      const failed = await store.deleteMany(others);
      if (failed.length > 0) throw failed[0]!.error;
    });
  }
  if (info) describeObject(info, tell);
}

/** Whether two clients that save the same name can hurt each other. */
async function conditions(store: S3Store, key: string): Promise<Finding> {
  try {
    await store.put(key, BODY, PLAIN, { ifAbsent: true });
  } catch (error) {
    if (isStoreError(error, 'precondition-failed')) return finding.ok('conditions', 'kept: no save overwrites another');
    return finding.warn('conditions', (error as Error).message, 'saves of two clients may overwrite each other');
  }
  return finding.warn(
    'conditions',
    'the store ignores them',
    'saves of two clients to one name are seen late; let one machine write at a time',
  );
}

/** Whether bytes that change on their way to the store are noticed there; undefined where no checksum is sent. */
function checksums({ features }: S3Store): Finding | undefined {
  switch (features.checksums) {
    case 'compared':
      return finding.ok('checksums', 'of what is written are compared by the store');
    case 'ignored':
    case 'refused':
      return finding.warn(
        'checksums',
        `of what is written are ${features.checksums}: TLS or the signature guards it on its way`,
        'use https, unless the network is trusted',
      );
    default:
      return undefined;
  }
}

function describeObject(info: ObjectInfo, tell: BucketPatient['tell']): void {
  const { encryption } = info.description;
  const by =
    encryption === undefined
      ? 'none is told'
      : encryption.algorithm === 'AES256'
        ? 'by S3 (SSE-S3)'
        : `by KMS, key ${encryption.kmsKeyId ?? 'of the account'}`;
  tell(finding.ok('encryption', by));
}

async function describeBucket({ store, tell }: BucketPatient): Promise<void> {
  const versioning = await store.bucketSetting('versioning');
  if (versioning !== undefined) {
    const on = /<Status>Enabled<\/Status>/.test(versioning);
    if (on) {
      tell(
        finding.warn(
          'versioning',
          'on: what is overwritten or deleted stays, and costs',
          'a lifecycle rule for noncurrent versions limits that',
        ),
      );
    } else tell(finding.ok('versioning', /Suspended/.test(versioning) ? 'suspended' : 'off'));
  }
  const lock = await store.bucketSetting('object-lock');
  if (lock?.includes('<ObjectLockEnabled>Enabled</ObjectLockEnabled>')) {
    tell(
      finding.warn(
        'object lock',
        'on',
        'versions under retention cannot be deleted; they stay beneath what the mount shows',
      ),
    );
  }
  const uploads = await store.bucketSetting('lifecycle');
  if (uploads !== undefined && !uploads.includes('<AbortIncompleteMultipartUpload>')) {
    tell(
      finding.warn(
        'lifecycle',
        'no rule removes unfinished uploads',
        'those that a crash leaves behind cost; add AbortIncompleteMultipartUpload, 7 days',
      ),
    );
  }
}

async function latency(store: S3Store): Promise<number> {
  const times: number[] = [];
  for (let left = LATENCY_TRIES; left > 0; left--) {
    const began = performance.now();
    await store.list({ prefix: '_s3mount/', maxKeys: 1 });
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
}
