/** Conditions of requests: which ones a request carries and whether an object meets them. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Modes } from './modes.ts';
import { S3Failure } from './s3-error.ts';
import type { StoredObject } from './state.ts';

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** True if one of the ETags in `list` (with or without quotes, `*` for any) is `etag`. */
export function matchesEtag(list: string, etag: string, modes: Modes): boolean {
  return list.split(',').some(item => {
    const wanted = item.trim().replace(/^W\//, '');
    if (wanted === '*') return true;
    if (modes.unquotedEtags) return wanted === etag;
    return wanted.replace(/^"(.*)"$/, '$1') === etag;
  });
}

function failed(condition: string): S3Failure {
  return new S3Failure('PreconditionFailed', { fields: { Condition: condition } });
}

const seconds = (ms: number): number => Math.floor(ms / 1000);

/**
 * GET and HEAD, and with `prefix` `x-amz-copy-source-` the source of a copy. An entity tag that holds outweighs the date
 * (RFC 9110, 13.2.2). Throws PreconditionFailed or NotModified; a copy knows no 304.
 */
export function checkRead(headers: IncomingHttpHeaders, object: StoredObject, modes: Modes, prefix = ''): void {
  const ifMatch = header(headers, `${prefix}if-match`);
  if (ifMatch !== undefined) {
    if (!matchesEtag(ifMatch, object.etag, modes)) throw failed('If-Match');
  } else {
    const unmodified = Date.parse(header(headers, `${prefix}if-unmodified-since`) ?? '');
    if (seconds(object.lastModified) > seconds(unmodified)) throw failed('If-Unmodified-Since');
  }
  const notModified = (condition: string): S3Failure =>
    prefix === ''
      ? new S3Failure('NotModified', {
          headers: { ETag: `"${object.etag}"`, 'Last-Modified': new Date(object.lastModified).toUTCString() },
        })
      : failed(condition);
  const ifNoneMatch = header(headers, `${prefix}if-none-match`);
  if (ifNoneMatch !== undefined) {
    if (matchesEtag(ifNoneMatch, object.etag, modes)) throw notModified('If-None-Match');
  } else {
    const since = Date.parse(header(headers, `${prefix}if-modified-since`) ?? '');
    if (seconds(object.lastModified) <= seconds(since)) throw notModified('If-Modified-Since');
  }
}

/** PUT, Complete and Copy: `current` is what the key holds now. `support` says how this store treats such conditions. */
export function checkWrite(
  headers: IncomingHttpHeaders,
  current: StoredObject | undefined,
  modes: Modes,
  support: boolean | 'refuse' | undefined,
): void {
  const ifMatch = header(headers, 'if-match');
  const ifNoneMatch = header(headers, 'if-none-match');
  if (ifMatch === undefined && ifNoneMatch === undefined) return;
  if (support === 'refuse') throw new S3Failure('NotImplemented');
  if (support) return;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() !== '*') throw new S3Failure('NotImplemented', { fields: { Header: 'If-None-Match' } });
    if (ifMatch !== undefined) throw new S3Failure('NotImplemented', { fields: { Header: 'If-Match' } });
    if (current !== undefined) throw failed('If-None-Match');
    return;
  }
  if (current === undefined) throw new S3Failure('NoSuchKey');
  if (!matchesEtag(ifMatch!, current.etag, modes)) throw failed('If-Match');
}

/** DELETE with `If-Match`: 404 where there is no object at all, 412 where the newest version is a delete marker. */
export function checkDelete(ifMatch: string | undefined, newest: StoredObject | undefined, modes: Modes): void {
  if (ifMatch === undefined || modes.noConditionalDelete) return;
  if (newest === undefined) throw new S3Failure('NoSuchKey');
  if (newest.deleteMarker || !matchesEtag(ifMatch, newest.etag, modes)) throw failed('If-Match');
}
