/** Answers whose body tells whether the work was done, and what came of it. */
import type { CancelSignal } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Subject } from './error-kinds.ts';
import { failureOfAnswer, failureOfTransport, isWebPage, readErrorBody } from './error-kinds.ts';
import type { S3Answer, S3Request, S3Requests } from './requests.ts';
import { textsIn, XmlError, xmlText } from './xml.ts';

/** An error document or a page is short; a listing need not be looked at twice. */
const LONGEST_ERROR = 16 * 1024;

/**
 * CopyObject, UploadPartCopy and CompleteMultipartUpload answer 200 while they work, and may turn out to be an `<Error>`;
 * a portal may answer a page. Throws `Failure`.
 */
export function refuseErrorIn200(subject: Subject, answer: S3Answer): void {
  const { body, head, sent } = answer;
  if (body.length === 0) return;
  const error = body.length <= LONGEST_ERROR && readErrorBody(body) !== undefined;
  if (error || isWebPage(head.headers, body)) {
    throw failureOfAnswer(subject, { status: head.status, headers: head.headers, body }, sent);
  }
}

/**
 * Sends a request that may turn into an `<Error>` after its 200, and reads its result, which is part of an attempt: one that
 * cannot be read leaves open what was done. Rejects with `Failure`.
 */
export function sentWithResult<T>(
  requests: S3Requests,
  request: S3Request,
  signal: CancelSignal | undefined,
  read: (answer: S3Answer) => T,
): Promise<T> {
  const subject = { operation: request.operation, key: request.key, bucket: requests.options.bucket };
  return requests.run(request, signal, async context => {
    const answer = await requests.once(request, context, signal);
    refuseErrorIn200(subject, answer);
    return read(answer);
  });
}

/** One text out of a result document. Throws `Failure` ('corrupt'). */
export function textIn(answer: S3Answer, request: S3Request, root: string, name: string): string {
  const subject = { operation: request.operation, key: request.key, bucket: '' };
  try {
    const text = textsIn(xmlText(answer.body).trim(), root).get(name);
    if (text) return text;
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
  }
  throw failureOfTransport(
    subject,
    new StoreError('corrupt', `${request.operation} came back without ${name}`, {
      operation: request.operation,
      ...(request.key === undefined ? {} : { key: request.key }),
    }),
  );
}

/** A text that a result document may have; undefined also where it cannot be read. */
export function optionalTextIn(answer: S3Answer, root: string, name: string): string | undefined {
  try {
    return textsIn(xmlText(answer.body).trim(), root).get(name);
  } catch (error) {
    if (error instanceof XmlError) return undefined;
    throw error;
  }
}
