/** Which exit code a failed start gets. The sentence comes from the layer that failed. */
import { StoreError } from '../errors.ts';
import { MountError, type MountErrorCode } from '../fuse/mount-error.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';

const EXIT_OF_MOUNT_ERROR: Readonly<Record<MountErrorCode, ExitCode>> = {
  'no-device': EXIT.fuse,
  permission: EXIT.fuse,
  'no-fusermount': EXIT.fuse,
  'allow-other': EXIT.fuse,
  missing: EXIT.mountPoint,
  'not-a-directory': EXIT.mountPoint,
  'not-owned': EXIT.mountPoint,
  busy: EXIT.mountPoint,
  stale: EXIT.mountPoint,
  option: EXIT.usage,
  unsupported: EXIT.fuse,
  failed: EXIT.mount,
};

/** S3's codes for keys that it does not know, or no longer. */
const CREDENTIAL_CODES: ReadonlySet<string> = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'InvalidToken',
  'ExpiredToken',
  'TokenRefreshRequired',
  'RequestTimeTooSkewed',
]);

/** Turns what a start failed with into a `CliError`; a bug is left as it is. */
export function explainFailure(error: unknown): unknown {
  if (error instanceof MountError) return cliError(EXIT_OF_MOUNT_ERROR[error.code], error);
  if (error instanceof StoreError) return cliError(exitOfStoreError(error), error);
  return error;
}

function exitOfStoreError({ kind, details }: StoreError): ExitCode {
  switch (kind) {
    case 'no-such-bucket':
    case 'not-found':
      return EXIT.bucket;
    case 'forbidden':
      // Without an answer from S3 no request was sent: there were no keys to sign it with.
      return details.status === undefined || CREDENTIAL_CODES.has(details.s3Code ?? '')
        ? EXIT.credentials
        : EXIT.forbidden;
    case 'invalid':
      return CREDENTIAL_CODES.has(details.s3Code ?? '') ? EXIT.credentials : EXIT.usage;
    default:
      return EXIT.network;
  }
}

function cliError(exitCode: ExitCode, error: Error): CliError {
  // It follows `s3mount: `; names such as PutObject stay as they are.
  const sentence = error.message.replace(/^(The|There|A|An|You|Mounting|Something) /, word => word.toLowerCase());
  return new CliError(exitCode, sentence.endsWith('.') ? sentence : `${sentence}.`, { cause: error });
}
