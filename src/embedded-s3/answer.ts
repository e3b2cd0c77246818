/** Writes a reply: headers, then the bytes as they are stored, at the pace and with the faults that are played. */
import type { ServerResponse } from 'node:http';
import { type Clock, delay } from '../concurrency.ts';
import type { ContentRange, Reply } from './call.ts';
import { Content } from './content.ts';
import { type FaultRule, strikePosition } from './faults.ts';
import { PACE_STEP } from './latency.ts';
import type { S3Failure } from './s3-error.ts';
import { element } from './xml.ts';

export interface AnswerOptions {
  readonly head: boolean;
  readonly requestId: string;
  readonly clock: Clock;
  readonly fault: FaultRule | undefined;
  readonly pace: ((bytes: number) => Promise<void>) | undefined;
  /** The connection ends after this answer: its request's body was not read. */
  readonly close: boolean;
}

export function errorReply(failure: S3Failure, resource: string, requestId: string): Reply {
  const headers: string[] = [];
  for (const [name, value] of Object.entries(failure.headers)) headers.push(name, value);
  if (failure.status === 304) return { status: 304, headers };
  let inner = element('Code', failure.code) + element('Message', failure.message);
  for (const [name, value] of Object.entries(failure.fields)) inner += element(name, value);
  inner += element('Resource', resource) + element('RequestId', requestId) + element('HostId', 'embedded');
  headers.push('Content-Type', 'application/xml');
  return {
    status: failure.status,
    headers,
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${inner}</Error>`,
  };
}

/** How much may wait in the socket before the writer does. */
const IN_FLIGHT = 1024 * 1024;

function drained(response: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

async function writeBytes(
  response: ServerResponse,
  pieces: Iterable<Uint8Array>,
  pace: AnswerOptions['pace'],
): Promise<void> {
  let since = 0;
  response.cork();
  for (const piece of pieces) {
    if (response.destroyed) return;
    for (let at = 0; at < piece.length; ) {
      const take = pace ? Math.min(piece.length - at, PACE_STEP - since) : piece.length;
      const roomy = response.write(take === piece.length ? piece : piece.subarray(at, at + take));
      at += take;
      since += take;
      if (since < (pace ? PACE_STEP : IN_FLIGHT)) continue;
      response.uncork();
      if (pace) await pace(since);
      if (!roomy && response.writableNeedDrain) await drained(response);
      if (response.destroyed) return;
      response.cork();
      since = 0;
    }
  }
  response.uncork();
  if (pace && since > 0) await pace(since);
}

/** Resolves when all that was written lies in the kernel. */
function flushed(response: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const { socket } = response;
    if (!socket || socket.destroyed) resolve();
    else socket.write('', () => resolve());
  });
}

async function writeWithFault(
  response: ServerResponse,
  content: Content,
  fault: FaultRule,
  options: AnswerOptions,
): Promise<boolean> {
  const at = strikePosition(fault, content.size);
  switch (fault.kind) {
    case 'corrupt':
      await writeBytes(response, content.withAlteredByte(Math.min(at, content.size - 1)).read(), options.pace);
      return true;
    case 'stall':
      await writeBytes(response, content.slice(0, at).read(), options.pace);
      await delay(options.clock, fault.ms ?? 5000);
      await writeBytes(response, content.slice(at, content.size - at).read(), options.pace);
      return true;
    case 'reset':
    case 'truncate':
      await writeBytes(response, content.slice(0, at).read(), options.pace);
      await flushed(response);
      if (fault.kind === 'reset') response.socket?.resetAndDestroy();
      else response.socket?.end();
      return false;
    default:
      await writeBytes(response, content.read(), options.pace);
      return true;
  }
}

function asContent(body: string | ContentRange | undefined): Content {
  if (body === undefined) return Content.empty;
  if (typeof body === 'string') return Content.of(Buffer.from(body, 'latin1'));
  return body.content.slice(body.offset, body.length);
}

/** XML without its end, where that is the fault. */
function cutBody(body: Reply['body'], fault: FaultRule | undefined): Reply['body'] {
  return fault?.kind === 'cut' && typeof body === 'string' ? body.slice(0, strikePosition(fault, body.length)) : body;
}

/** Bytes up to which a body is handed over with its headers in one go. */
const SMALL = 64 * 1024;

/** Sends `reply`; resolves with the bytes of its body when it is written, or the connection gone. */
export async function sendReply(response: ServerResponse, reply: Reply, options: AnswerOptions): Promise<number> {
  const { headers } = reply;
  const body = cutBody(reply.body, options.fault);
  const length = body === undefined ? 0 : typeof body === 'string' ? body.length : body.length;
  headers.push('x-amz-request-id', options.requestId, 'Server', 'AmazonS3');
  headers.push('Date', new Date(options.clock.now()).toUTCString());
  if (reply.status !== 204 && reply.status !== 304) headers.push('Content-Length', String(length));
  if (options.close) headers.push('Connection', 'close');
  response.sendDate = false;
  response.writeHead(reply.status, headers);
  const silent = options.head || reply.status === 204 || reply.status === 304;
  const { fault } = options;
  if (!silent && fault && length > 0 && /^(corrupt|stall|reset|truncate)$/.test(fault.kind)) {
    if (await writeWithFault(response, asContent(body), fault, options)) response.end();
    return length;
  }
  if (silent || length === 0 || body === undefined) response.end();
  else if (typeof body === 'string') {
    if (options.pace) await options.pace(length);
    response.end(body, 'latin1');
  } else if (length <= SMALL && !options.pace) {
    const pieces = [...body.content.read(body.offset, length)];
    for (const piece of pieces.slice(0, -1)) response.write(piece);
    response.end(pieces.at(-1));
  } else {
    await writeBytes(response, body.content.read(body.offset, length), options.pace);
    response.end();
  }
  if (!response.destroyed && !response.writableFinished && length > SMALL) {
    await new Promise<void>(resolve => {
      response.once('finish', resolve);
      response.once('close', resolve);
    });
  }
  return silent ? 0 : length;
}
