/** What a failure means, in plain words: what failed, what S3 said, what to do. Pure. */
import { RIGHT_OF } from '../s3/error-kinds.ts';
import type { WhyAnswer } from './control-answers.ts';
import type { Failed } from './failure-memory.ts';
import { timeText } from './quantities.ts';
import { shown } from './status-text.ts';

/** What programs print for it (strerror(3)). */
const MEANING: Partial<Readonly<Record<Failed['code'], string>>> = {
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  EFBIG: 'File too large',
  EILSEQ: 'Invalid or incomplete multibyte or wide character',
  EINVAL: 'Invalid argument',
  EIO: 'Input/output error',
  EISDIR: 'Is a directory',
  ENAMETOOLONG: 'File name too long',
  ENOMEM: 'Cannot allocate memory',
  ENOSPC: 'No space left on device',
  ENOTDIR: 'Not a directory',
  ENOTEMPTY: 'Directory not empty',
  EOPNOTSUPP: 'Operation not supported',
  EPERM: 'Operation not permitted',
  EROFS: 'Read-only file system',
  ESTALE: 'Stale file handle',
  ETIMEDOUT: 'Connection timed out',
  EXDEV: 'Invalid cross-device link',
};

export function whyText(path: string, answer: WhyAnswer): string {
  const { failures, since, attempts } = answer;
  const texts = [
    ...attempts.map(attempt => attemptText(path, attempt)),
    ...failures.map(failed => failureText(path, failed, answer)),
  ];
  if (texts.length > 0) return texts.join('\n\n');
  return `${shown(path)}: nothing that this mount did there has failed since ${timeText(Date.parse(since))}.`;
}

/** Somebody waits, or waited, for this. */
function attemptText(path: string, { operation, message, last, times }: Failed): string {
  const often = times === 1 ? '' : ` (${times} times)`;
  return `${shown(path)}: an attempt of ${shown(operation)} failed at ${timeText(last)}${often} and is tried again.\n  ${sentence(shown(message))}`;
}

function failureText(path: string, failed: Failed, answer: WhyAnswer): string {
  const { operation, code, message, first, last, times, store } = failed;
  const often = times === 1 ? '' : ` (${times} times since ${timeText(first)})`;
  const meaning = MEANING[code];
  const lines = [
    `${shown(path)}: ${operation} failed with ${code}${meaning ? ` (${meaning})` : ''} at ${timeText(last)}${often}.`,
    `  ${sentence(shown(message))}`,
  ];
  if (store !== undefined) {
    lines.push(...answerLine(store));
    const cause = causeOf(path, store, answer);
    if (cause !== undefined) lines.push(`  ${cause}`);
  }
  return lines.join('\n');
}

function sentence(text: string): string {
  return text.endsWith('.') || text.endsWith('…') ? text : `${text}.`;
}

function answerLine({ request, status, s3Code, requestId }: NonNullable<Failed['store']>): string[] {
  if (status === undefined) return [];
  const code = s3Code === undefined ? '' : ` ${shown(s3Code)}`;
  const id = requestId === undefined ? '' : `, request id ${shown(requestId)} (AWS support asks for it)`;
  return [`  S3's answer to ${request ?? 'the request'}: ${status}${code}${id}.`];
}

function causeOf(path: string, store: NonNullable<Failed['store']>, answer: WhyAnswer): string | undefined {
  const { kind, s3Code = '', request = '', deniedAction, key = '' } = store;
  if (s3Code.startsWith('KMS.') || deniedAction?.startsWith('kms:')) return kmsText(store);
  switch (kind) {
    case 'archived':
      return `Cause: the object is in an archive (Glacier): its bytes must be restored first: s3mount restore ${shown(path)}.`;
    case 'forbidden': {
      if (
        /^(InvalidAccessKeyId|SignatureDoesNotMatch|Expired|InvalidToken|TokenRefresh|RequestTimeTooSkewed)/.test(
          s3Code,
        )
      ) {
        return 'Cause: the credentials themselves, not what they may do.';
      }
      const action = deniedAction ?? RIGHT_OF[request] ?? request;
      const resource = request === 'ListObjectsV2' ? '' : `/${answer.prefix}${key}`;
      return `Cause: the credentials lack ${action} on arn:aws:s3:::${shown(answer.bucket + resource)}, or a bucket policy denies it.`;
    }
    case 'timeout':
    case 'unavailable':
      return 'Cause: S3 or the way to it. What was unsaved is kept and sent again; s3mount flush tries at once.';
    case 'precondition-failed':
      return 'Cause: another client changed the object meanwhile; opening it again shows what is there.';
    case 'too-large':
      return 'Cause: S3 takes no larger object.';
    case 'no-space':
      return 'Cause: the store is full, or a quota is reached.';
    default:
      return undefined;
  }
}

function kmsText({ s3Code = '', request = '', deniedAction }: NonNullable<Failed['store']>): string {
  if (/Disabled|InvalidState|NotFound/.test(s3Code)) {
    return 'Cause: the KMS key that the object is encrypted with is disabled, being deleted or gone.';
  }
  const reads = request === 'GetObject' || request === 'HeadObject';
  const action = deniedAction ?? (reads ? 'kms:Decrypt' : 'kms:GenerateDataKey and kms:Decrypt');
  return `Cause: the credentials lack ${action} on the KMS key that the object is encrypted with; its key policy counts too.`;
}
