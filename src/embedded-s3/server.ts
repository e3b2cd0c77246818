/**
 * A small S3 server in this process: for the demo, for fast tests and for measuring, not for production.
 *
 * It keeps objects in memory, verifies signatures as S3 does, and fails, waits and differs on demand. Nothing but Node's
 * own modules.
 */
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type Clock, systemClock } from '../concurrency.ts';
import { fromByteString, toByteString } from './byte-string.ts';
import { LIMITS, type StoreLimits, World } from './call.ts';
import { type Certificates, makeCertificates } from './certificate.ts';
import { Content } from './content.ts';
import { answerControl, CONTROL_PATH } from './control.ts';
import { type DirectObject, type DirectPut, directObject, putDirect } from './direct.ts';
import { answer, type Site } from './dispatch.ts';
import { type FaultRule, Faults } from './faults.ts';
import { type Fill, fillBucket } from './fill.ts';
import { ConnectionPacer, type Latency, type Pace } from './latency.ts';
import type { Modes } from './modes.ts';
import { openDirectory } from './persistence.ts';
import type { Credential } from './signature.ts';
import type { Bucket } from './state.ts';
import { type LoggedRequest, type Stats, Watch } from './watch.ts';

export interface EmbeddedS3Options {
  /** 0, the default: any free one. */
  readonly port?: number;
  readonly host?: string;
  /** `true`: with a CA made on the spot, see `ca`; `names`: further names for its certificate. PEM. */
  readonly tls?: true | { readonly names: readonly string[] } | { readonly cert: string; readonly key: string };
  readonly buckets?: readonly (string | { readonly name: string; readonly region?: string })[];
  /** Default: `EMBEDDEDKEY` with `embeddedsecret`. */
  readonly credentials?: readonly Credential[];
  /** Default true; false: any credentials or none will do. */
  readonly verifySignatures?: boolean;
  /** Of buckets that name none, and of endpoints without a region in their name. Default us-east-1. */
  readonly region?: string;
  /** Host names that may have a bucket's name in front, beside those of AWS and `localhost`. */
  readonly hostNames?: readonly string[];
  /** Keeps buckets and objects there and reads them again at the start. */
  readonly directory?: string;
  /** ms to the first byte, see `latency.ts`. */
  readonly latency?: Latency;
  /** Bytes per second of each connection, each way. */
  readonly bandwidthPerConnection?: number;
  /** Bytes per second of each server-side copy. */
  readonly copyBandwidth?: number;
  /** `fast`: ETags are unique but no MD5s, which cost 1.5 s of CPU per GB. Default `md5`. */
  readonly etag?: 'md5' | 'fast';
  readonly clock?: Clock;
  readonly modes?: Modes;
  readonly limits?: Partial<StoreLimits>;
  readonly faults?: readonly FaultRule[];
  /** Idle connections end after so many ms. Default 60,000. */
  readonly idleTimeout?: number;
}

export interface EmbeddedS3 {
  /** `http://127.0.0.1:PORT`, or https. */
  readonly url: string;
  readonly port: number;
  readonly region: string;
  /** PEM of the CA to trust; with `tls` only. */
  readonly ca: string | undefined;
  /** The first of `credentials`. */
  readonly credential: Credential;
  /** Since the start or the last `resetStats`. */
  readonly stats: Stats;
  /** Up to 10,000 of the last requests, oldest first. */
  readonly log: readonly LoggedRequest[];
  readonly faults: Faults;
  /** Changes take effect with the next request. */
  readonly pace: Pace;
  /** Forgets counts and log. */
  resetStats(): void;
  createBucket(name: string, region?: string): void;
  /** Puts an object there without a request; no condition, fault or latency applies. */
  putObject(bucket: string, key: string, bytes: Uint8Array | string, options?: DirectPut): DirectObject;
  getObject(bucket: string, key: string): DirectObject | undefined;
  /** False if there was none. */
  deleteObject(bucket: string, key: string): boolean;
  /** In the order of their UTF-8 bytes. */
  listKeys(bucket: string, prefix?: string): string[];
  openUploads(bucket: string): { readonly key: string; readonly uploadId: string; readonly parts: number }[];
  /** Ends all multipart uploads of the bucket, as another client might. */
  abortUploads(bucket: string): void;
  /** Many objects or large ones at no cost, see `fill.ts`. Returns how many there were. */
  fill(bucket: string, fill: Fill): number;
  /** Ends all connections; rejects if what was put without a request could not be kept in the directory. */
  close(): Promise<void>;
}

const DEFAULT_CREDENTIAL: Credential = { accessKeyId: 'EMBEDDEDKEY', secretAccessKey: 'embeddedsecret' };

/** Socket buffers of Node, each way: large enough that a body of some MiB is a few writes. */
const HIGH_WATER_MARK = 1024 * 1024;

function certificatesFor(options: EmbeddedS3Options, names: readonly string[]): Certificates | undefined {
  const { tls } = options;
  if (tls === undefined) return undefined;
  if (tls !== true && 'cert' in tls) return { ca: tls.cert, cert: tls.cert, key: tls.key };
  return makeCertificates([...names, ...(tls === true ? [] : tls.names)]);
}

export async function startEmbeddedS3(options: EmbeddedS3Options = {}): Promise<EmbeddedS3> {
  const clock = options.clock ?? systemClock;
  const world = new World({
    clock,
    region: options.region ?? 'us-east-1',
    modes: options.modes ?? {},
    etags: options.etag ?? 'md5',
    limits: { ...LIMITS, ...options.limits },
  });
  if (options.directory !== undefined) world.keeper = await openDirectory(options.directory, world);
  for (const bucket of options.buckets ?? []) {
    const { name, region } = typeof bucket === 'string' ? { name: bucket, region: undefined } : bucket;
    if (world.buckets.has(name)) continue;
    const added = world.addBucket(name, region);
    await world.keeper?.bucketChanged(added);
  }
  const credentials = options.credentials ?? [DEFAULT_CREDENTIAL];
  const pace: Pace = {
    latency: options.latency ?? {},
    bandwidthPerConnection: options.bandwidthPerConnection,
    copyBandwidth: options.copyBandwidth,
  };
  const faults = new Faults();
  faults.add(...(options.faults ?? []));
  const site: Site = {
    world,
    credentials: new Map(credentials.map(one => [one.accessKeyId, one])),
    verify: options.verifySignatures ?? true,
    hostNames: options.hostNames ?? [],
    faults,
    pace,
    pacer: new ConnectionPacer(clock),
    watch: new Watch(),
  };

  const listen: RequestListener = (request, response) => {
    if (request.url?.startsWith(CONTROL_PATH)) void answerControl(site, request, response);
    else void answer(site, request, response, false);
  };
  const certificates = certificatesFor(options, site.hostNames);
  const settings = {
    highWaterMark: HIGH_WATER_MARK,
    keepAliveTimeout: options.idleTimeout ?? 60_000,
    // Large uploads at a slow pace take their time.
    requestTimeout: 0,
  };
  const server: Server = certificates
    ? createHttpsServer({ ...settings, key: certificates.key, cert: certificates.cert }, listen)
    : createHttpServer(settings, listen);
  server.on('checkContinue', (request, response) => void answer(site, request, response, true));
  server.on('connection', () => site.watch.connected());
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;

  const bucketOf = (name: string): Bucket => {
    const bucket = world.buckets.get(name);
    if (!bucket) throw new Error(`the embedded S3 server has no bucket '${name}'`);
    return bucket;
  };
  return {
    url: `${certificates ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    region: world.region,
    ca: certificates?.ca,
    credential: credentials[0] ?? DEFAULT_CREDENTIAL,
    faults,
    pace,
    get stats() {
      return site.watch.stats;
    },
    get log() {
      return site.watch.log;
    },
    resetStats: () => site.watch.reset(),
    createBucket(name, region) {
      const bucket = world.addBucket(name, region);
      world.keep(keeper => keeper.bucketChanged(bucket));
    },
    putObject: (bucket, key, bytes, put) =>
      putDirect(world, bucketOf(bucket), key, Content.of(Buffer.from(bytes)), put),
    getObject(bucket, key) {
      const object = bucketOf(bucket).current(toByteString(key));
      return object && directObject(object);
    },
    deleteObject(name, key) {
      const bucket = bucketOf(name);
      const there = bucket.objects.delete(toByteString(key));
      world.keep(keeper => keeper.changed(bucket, key));
      return there;
    },
    listKeys(bucket, prefix = '') {
      const keys: string[] = [];
      const from = toByteString(prefix);
      const cursor = bucketOf(bucket).objects.cursor(from);
      for (let object = cursor.next(); object?.key.startsWith(from); object = cursor.next()) {
        if (!object.deleteMarker) keys.push(fromByteString(object.key));
      }
      return keys;
    },
    openUploads: bucket =>
      [...bucketOf(bucket).uploads.values()].map(one => ({
        key: fromByteString(one.key),
        uploadId: one.id,
        parts: one.parts.size,
      })),
    abortUploads: bucket => bucketOf(bucket).uploads.clear(),
    fill: (bucket, fill) => fillBucket(world, bucketOf(bucket), fill),
    async close() {
      server.closeAllConnections();
      await new Promise<void>(resolve => server.close(() => resolve()));
      await world.settled();
    },
  };
}
