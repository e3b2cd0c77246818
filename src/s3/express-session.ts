/**
 * The keys with which a directory bucket is asked (CreateSession, Amazon S3 API Reference): they are had by those of the
 * account, hold for five minutes, and their token goes into a header of its own. Copies are still asked for with the
 * account's keys.
 */
import { isStoreError, StoreError } from '../errors.ts';
import type { S3Answer, S3Request, S3Requests } from './requests.ts';
import { atTheDoor } from './requests.ts';
import { sentWithResult } from './result-document.ts';
import type { Credentials } from './sigv4.ts';
import { textsIn, XmlError, xmlText } from './xml.ts';

/** ms before its end that a session is replaced, while it still holds: it is asked for in a round trip. */
export const SESSION_REFRESH_MS = 60_000;

const TOKEN_HEADER = 'x-amz-s3session-token';

/** Operations on a directory bucket that want the account's keys ("you must use IAM credentials"). */
export const WITH_ACCOUNT_KEYS: ReadonlySet<string> = new Set([
  'CreateSession',
  'CopyObject',
  'UploadPartCopy',
  'HeadBucket',
]);

const REQUEST: S3Request = { operation: 'CreateSession', method: 'GET', key: undefined, query: 'session=' };

/** Rejects with `StoreError`. */
export function createSession(requests: S3Requests): Promise<Credentials> {
  return atTheDoor(sentWithResult(requests, REQUEST, undefined, sessionOf));
}

function sessionOf({ body }: S3Answer): Credentials {
  const unreadable = new StoreError('corrupt', 'CreateSession came back without keys', { operation: 'CreateSession' });
  try {
    const inner = /<Credentials>([\s\S]*)<\/Credentials>/.exec(xmlText(body))?.[0];
    const texts = textsIn(inner ?? '', 'Credentials');
    const accessKeyId = texts.get('AccessKeyId');
    const secretAccessKey = texts.get('SecretAccessKey');
    const sessionToken = texts.get('SessionToken');
    const expiration = Date.parse(texts.get('Expiration') ?? '');
    if (!accessKeyId || !secretAccessKey || !sessionToken || Number.isNaN(expiration)) throw unreadable;
    return { accessKeyId, secretAccessKey, sessionToken, expiration, tokenHeader: TOKEN_HEADER };
  } catch (error) {
    if (error instanceof XmlError || isStoreError(error)) throw unreadable;
    throw error;
  }
}
