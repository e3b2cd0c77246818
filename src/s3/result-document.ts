/** Answers whose body tells whether the work was done, and what came of it. */
import { StoreError } from '../errors.ts';
import type { BucketEndpoint } from './endpoint.ts';
import type { Subject } from './error-kinds.ts';
import { failureOfAnswer, failureOfTransport, isWebPage, readErrorBody } from './error-kinds.ts';
import type { S3Answer, S3Request, S3Requests } from './requests.ts';
import type { Credentials } from './sigv4.ts';
import { textsIn, XmlError, xmlText } from './xml.ts';

/**
 * CopyObject, UploadPartCopy and CompleteMultipartUpload answer 200 while they work, and may turn out to be an `<Error>`;
 * a portal may answer a page. Throws `Failure`.
 */
export function refuseErrorIn200(
  subject: Subject,
  status: number,
  headers: ReadonlyMap<string, string>,
  body: Uint8Array,
  sentAt: number,
  endpoint: BucketEndpoint,
  credentials: Credentials | undefined,
): void {
  if (body.length === 0) return;
  if (readErrorBody(body) || isWebPage(headers, body)) {
    throw failureOfAnswer(subject, { status, headers, body }, sentAt, endpoint.scope.region, credentials);
  }
}

/** Sends a request that may turn into an `<Error>` after its 200. Rejects with `Failure`. */
export function sentWithResult(
  requests: S3Requests,
  request: S3Request,
  signal: AbortSignal | undefined,
): Promise<S3Answer> {
  const subject = { operation: request.operation, key: request.key, bucket: requests.options.bucket };
  return requests.run(request, signal, async context => {
    const sentAt = requests.now();
    const answer = await requests.once(request, context, signal);
    const { status, headers } = answer.head;
    refuseErrorIn200(subject, status, headers, answer.body, sentAt, requests.endpoint, undefined);
    return answer;
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
