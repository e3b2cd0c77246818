/** Requests and answers of the AWS SDK's clients, as our transport has them. */
import { Readable } from 'node:stream';
import type { HttpAnswer } from './http-transport.ts';

/** What the SDK hands to its request handler, as far as it matters here. */
export interface SdkRequest {
  readonly method: string;
  /** `https:` */
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query?: Record<string, string | string[] | null>;
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}

export interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: Readable;
}

export function bodyOf(body: unknown): Uint8Array | undefined {
  if (body === undefined || body === null || body === '') return undefined;
  if (typeof body === 'string') return Buffer.from(body);
  if (body instanceof Uint8Array) return body;
  throw new TypeError('the SDK made a request whose body is a stream');
}

/** With its question mark, sorted by name as a signature wants it. */
export function queryOf(query: SdkRequest['query']): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      parts.push(
        each === null ? `${encodeURIComponent(name)}=` : `${encodeURIComponent(name)}=${encodeURIComponent(each)}`,
      );
    }
  }
  return parts.length === 0 ? '' : `?${parts.sort().join('&')}`;
}

export function responseOf({ head, body }: Pick<HttpAnswer, 'head' | 'body'>): SdkResponse {
  return {
    statusCode: head.status,
    headers: Object.fromEntries(head.headers),
    body: Readable.from(Buffer.from(body), { objectMode: false }),
  };
}
