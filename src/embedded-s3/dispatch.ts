/** One request from its arrival to its answer: address, region, signature, access, faults, handler, pace. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { delay } from '../concurrency.ts';
import { authorize } from './access.ts';
import { type Address, parseAddress, parseQuery } from './address.ts';
import { errorReply, sendReply } from './answer.ts';
import { fromByteString } from './byte-string.ts';
import type { BucketCall, Call, Reply, World } from './call.ts';
import { checkDirectoryBucket, isDirectoryBucket } from './directory-bucket.ts';
import type { FaultRule, Faults } from './faults.ts';
import { authorizeFurther } from './further-rights.ts';
import { BUCKET_HANDLERS, SERVICE_HANDLERS } from './handlers.ts';
import { type ConnectionPacer, latencyOf, type Pace } from './latency.ts';
import { OPERATIONS, type Operation, route } from './route.ts';
import { codeForStatus, S3Failure } from './s3-error.ts';
import { type Credential, type Signed, verifySignature } from './signature.ts';
import type { Bucket } from './state.ts';
import { loggedHeaders, type Watch } from './watch.ts';

export interface Site {
  readonly world: World;
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly verify: boolean;
  /** Further names of this host, for virtual-host addressing. */
  readonly hostNames: readonly string[];
  readonly faults: Faults;
  readonly pace: Pace;
  readonly pacer: ConnectionPacer;
  readonly watch: Watch;
}

const MAX_KEY_BYTES = 1024;
/** What a proxy or a portal answers in the place of S3. */
const PAGE = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Welcome to the network</body></html>\n';

/** What becomes known of a request on its way; the log tells it also where it fails. */
interface Progress {
  operation: Operation | undefined;
  address: Address | undefined;
  bucket: Bucket | undefined;
  fault: FaultRule | undefined;
  bytesIn: number;
  proceeded: boolean;
}

let lastRequestId = 0;

function newRequestId(): string {
  lastRequestId++;
  return `E${lastRequestId.toString(36).toUpperCase().padStart(15, '0')}`;
}

/** The region that the scope must name. Throws PermanentRedirect where the bucket lives behind another endpoint. */
function expectedRegion(world: World, address: Address, bucket: Bucket | undefined): string {
  const { endpointRegion } = address;
  if (!bucket) return endpointRegion === 'global' ? 'us-east-1' : (endpointRegion ?? world.region);
  // The DNS name BUCKET.s3.amazonaws.com leads to the bucket's own region, s3.amazonaws.com to us-east-1.
  const reached = endpointRegion === 'global' ? (address.virtualHost ? bucket.region : 'us-east-1') : endpointRegion;
  if (reached === undefined || reached === bucket.region) return bucket.region;
  throw new S3Failure('PermanentRedirect', {
    fields: { Endpoint: `${bucket.name}.s3.${bucket.region}.amazonaws.com`, Bucket: bucket.name },
    headers: { 'x-amz-bucket-region': bucket.region },
  });
}

/** The headers that this store pays heed to. */
function heeded({ modes }: World, { headers }: IncomingMessage, operation: Operation): IncomingHttpHeaders {
  // DeleteObjects must have a checksum everywhere.
  if (!modes.noChecksums || operation === 'DeleteObjects') return headers;
  const isChecksum = (name: string): boolean => /^x-amz-(sdk-)?checksum-/.test(name);
  const refused = Object.keys(headers).find(name => isChecksum(name) && name !== 'x-amz-checksum-mode');
  if (refused !== undefined && modes.noChecksums === 'refuse') {
    throw new S3Failure('NotImplemented', { message: `Header '${refused}' not implemented` });
  }
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !isChecksum(name)));
}

function checkKey(address: Address): void {
  if (address.key.length > MAX_KEY_BYTES) {
    throw new S3Failure('KeyTooLongError', { fields: { Size: address.key.length, MaxSizeAllowed: MAX_KEY_BYTES } });
  }
}

async function work(
  site: Site,
  request: IncomingMessage,
  progress: Progress,
  proceed: () => void,
  pace: ((bytes: number) => Promise<void>) | undefined,
): Promise<Reply> {
  const { world } = site;
  const url = request.url ?? '/';
  const mark = url.indexOf('?');
  const address = parseAddress(mark < 0 ? url : url.slice(0, mark), request.headers.host ?? '', site.hostNames);
  progress.address = address;
  const pairs = mark < 0 ? [] : parseQuery(url.slice(mark + 1));
  const query = new Map(pairs);
  const method = request.method ?? 'GET';
  const operation = route(method, address, query, request.headers);
  progress.operation = operation;
  const bucket = world.buckets.get(address.bucket);
  progress.bucket = bucket;
  const key = address.key;

  let signed: Signed | undefined;
  if (site.verify) {
    signed = verifySignature(
      { method, path: address.path, pairs, query, headers: request.headers, rawHeaders: request.rawHeaders },
      {
        credentials: { get: id => site.credentials.get(id) ?? world.sessions.get(id) },
        region: expectedRegion(world, address, bucket),
        service: isDirectoryBucket(address.bucket) ? 's3express' : 's3',
        now: world.clock.now(),
      },
    );
  } else expectedRegion(world, address, bucket);
  const fault = site.faults.active.length === 0 ? undefined : site.faults.strike(operation, fromByteString(key));
  progress.fault = fault;
  fault?.run?.();
  if (fault?.kind === 'page') return { status: 200, headers: ['Content-Type', 'text/html'], body: PAGE };
  if (fault?.kind === 'status') {
    const status = fault.status ?? 500;
    throw new S3Failure((fault.code ?? codeForStatus(status)) as 'InternalError', {
      status,
      message: 'A fault on demand.',
    });
  }
  if (fault?.kind === 'slow') await delay(world.clock, fault.ms ?? 5000);
  if (fault?.kind === 'error200') throw new S3Failure('InternalError', { status: 200 });

  const identity = site.verify ? signed?.credential : {};
  const handler = SERVICE_HANDLERS[operation];
  const call: Call = {
    world,
    request,
    operation,
    address,
    key,
    query,
    headers: heeded(world, request, operation),
    signed,
    verify: site.verify,
    fault,
    proceed,
    pace,
    received(bytes) {
      progress.bytesIn += bytes;
    },
  };
  if (handler) {
    authorize(identity, operation, undefined, '', undefined, '');
    return await handler(call);
  }
  if (!bucket) throw new S3Failure('NoSuchBucket', { fields: { BucketName: address.bucket } });
  checkKey(address);
  const target = identity === undefined ? bucket.current(key) : undefined;
  const isExpress = isDirectoryBucket(bucket.name);
  // A DeleteObjects is allowed or not key by key; in a directory bucket the session is what is allowed.
  if (!isExpress && (operation !== 'DeleteObjects' || identity === undefined)) {
    authorize(identity, operation, bucket, key, target, query.get('prefix') ?? '');
  }
  const bucketCall: BucketCall = { ...call, bucket };
  if (isExpress) checkDirectoryBucket(bucketCall);
  authorizeFurther(bucketCall, identity);
  try {
    return await BUCKET_HANDLERS[operation as keyof typeof BUCKET_HANDLERS](bucketCall);
  } catch (error) {
    // Who may not list the bucket is not told what is missing in it.
    const missing = error instanceof S3Failure && error.code === 'NoSuchKey' && OPERATIONS[operation] !== 'put';
    if (missing && !isExpress) authorize(identity, 'ListObjectsV2', bucket, '', undefined, key);
    throw error;
  }
}

function failureReply(error: unknown, progress: Progress, path: string, requestId: string): Reply {
  const failure =
    error instanceof S3Failure
      ? error
      : new S3Failure('InternalError', {
          message: error instanceof Error ? `${error.message}\n${error.stack}` : 'unknown',
        });
  const reply = errorReply(failure, path, requestId);
  const { bucket, operation } = progress;
  if (bucket && (operation === 'HeadBucket' || failure.status === 403) && !failure.headers['x-amz-bucket-region']) {
    reply.headers.push('x-amz-bucket-region', bucket.region);
  }
  return reply;
}

/** Answers one request. `waitsForContinue`: the client sends its body only after "100 Continue". */
export async function answer(
  site: Site,
  request: IncomingMessage,
  response: ServerResponse,
  waitsForContinue: boolean,
): Promise<void> {
  const { world, watch } = site;
  const began = world.clock.monotonic();
  const time = world.clock.now();
  const requestId = newRequestId();
  const progress: Progress = {
    operation: undefined,
    address: undefined,
    bucket: undefined,
    fault: undefined,
    bytesIn: 0,
    proceeded: !waitsForContinue,
  };
  watch.began();
  const { socket } = request;
  const bandwidth = site.pace.bandwidthPerConnection;
  const paceOfBody = () => (bandwidth === undefined ? undefined : site.pacer.body(socket, bandwidth));
  const proceed = (): void => {
    if (progress.proceeded) return;
    progress.proceeded = true;
    response.writeContinue();
  };
  let status = 0;
  let bytesOut = 0;
  try {
    let reply: Reply;
    try {
      reply = await work(site, request, progress, proceed, paceOfBody());
    } catch (error) {
      reply = failureReply(error, progress, (request.url ?? '/').replace(/\?.*/, ''), requestId);
    }
    if (reply.status === 200 && (progress.operation === 'ListObjectsV2' || progress.operation === 'ListObjects')) {
      reply.headers.push('x-amz-bucket-region', progress.bucket!.region);
    }
    let wait = latencyOf(site.pace, progress.operation);
    if (reply.copied && site.pace.copyBandwidth) wait += (reply.copied / site.pace.copyBandwidth) * 1000;
    if (wait > 0) await delay(world.clock, wait);
    status = reply.status;
    const { fault } = progress;
    if (fault?.kind === 'lost') {
      socket.resetAndDestroy();
      return;
    }
    if (!request.readableEnded) request.resume();
    // A fault in the body of an upload has struck there already.
    const uploads = progress.operation !== undefined && OPERATIONS[progress.operation] === 'put';
    bytesOut = await sendReply(response, reply, {
      head: request.method === 'HEAD',
      requestId,
      clock: world.clock,
      fault: uploads ? undefined : fault,
      pace: paceOfBody(),
      close: !progress.proceeded,
    });
  } catch {
    // The connection is gone or its headers cannot be written: there is nobody to tell.
    socket.destroy();
  } finally {
    watch.ended({
      op: progress.operation ?? '',
      method: request.method ?? '',
      bucket: progress.address?.bucket ?? '',
      key: fromByteString(progress.address?.key ?? ''),
      query: (request.url ?? '').split('?', 2)[1] ?? '',
      status,
      range: request.headers.range ?? (request.headers['x-amz-copy-source-range'] as string | undefined),
      time,
      ms: world.clock.monotonic() - began,
      bytesIn: progress.bytesIn,
      bytesOut,
      headers: loggedHeaders(request.headers),
      fault: progress.fault?.kind,
    });
  }
}
