/** From the options that were given to the store, with a look whether the bucket is there and may be used. */
import { readFile } from 'node:fs/promises';
import { isStoreError, StoreError } from '../errors.ts';
import { openS3Store, type S3StoreOptions } from '../s3/open-store.ts';
import type { S3Store } from '../s3/s3-store.ts';
import type { Telemetry } from '../telemetry.ts';
import { credentialSources } from './credential-sources.ts';
import { encryptionOptions } from './encryption-options.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { present } from './filesystem-options.ts';
import { networkOptions } from './network-options.ts';
import type { Config } from './options.ts';

/** Throws `StoreError` or `CliError`, each with a sentence for people. */
export async function openStore(config: Config, telemetry: Telemetry): Promise<S3Store> {
  const store = await openUnprobed(config, telemetry);
  try {
    await store.probe();
  } catch (error) {
    await store.close();
    throw withSource(error, store.credentialSource);
  }
  return store;
}

/** Without a look whether the bucket answers. Throws `StoreError` or `CliError` for what cannot be. */
export async function openUnprobed(config: Config, telemetry: Telemetry): Promise<S3Store> {
  const ca = config.caBundle === undefined ? undefined : await readCaBundle(config.caBundle);
  const network = await networkOptions(config.values, process.env, ca);
  const encryption = await encryptionOptions(config.values, process.env, network.url);
  return await openS3Store({ ...storeOptions(config), ...network, ...encryption, telemetry });
}

/** Whoever is refused asks first which keys were used. */
function withSource(error: unknown, source: string | undefined): unknown {
  if (source === undefined || !isStoreError(error, 'forbidden', 'invalid') || error.details.status === undefined) {
    return error;
  }
  return new StoreError(error.kind, `${error.message} (the keys came from ${source})`, error.details);
}

/** Pure but for the credentials file, which is read when keys are needed. */
export function storeOptions({ bucket, prefix, values }: Config): S3StoreOptions {
  const { connect_timeout, readwrite_timeout } = values;
  return {
    bucket,
    prefix,
    ...present({
      region: values.region,
      profile: values.profile,
      pathStyle: values.use_path_request_style,
      anonymous: values.public_bucket,
      requesterPays: values.requester_pays,
      signPayload: signPayload(values.enable_unsigned_payload),
      checksums: values.checksum,
      maxConnections: values.max_thread_count,
      storageClass: values.storage_class?.toUpperCase(),
      // S3's own default; buckets with ACLs disabled refuse the header.
      acl: values.default_acl === 'private' ? undefined : values.default_acl,
      credentials: credentialSources(values, bucket),
    }),
    timeouts: present({ connect: connect_timeout, firstByte: readwrite_timeout, stall: readwrite_timeout }),
    retry: present({ attempts: values.retries }),
  };
}

/** Undefined: the default, by which a checksum that S3 compares takes the place of the hash over plain HTTP. */
function signPayload(unsigned: boolean | undefined): S3StoreOptions['signPayload'] {
  return unsigned === undefined ? undefined : unsigned ? 'never' : 'http';
}

async function readCaBundle(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new CliError(EXIT.usage, `AWS_CA_BUNDLE cannot be read: ${(error as Error).message}.`);
  }
}
