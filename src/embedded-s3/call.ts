/** One request on its way through the server, what answers it, and the world it acts on. */
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Clock } from '../concurrency.ts';
import type { Address } from './address.ts';
import type { Content } from './content.ts';
import type { FaultRule } from './faults.ts';
import type { Modes } from './modes.ts';
import type { Operation } from './route.ts';
import { Sessions } from './sessions.ts';
import type { Signed } from './signature.ts';
import { Bucket, type StoredObject } from './state.ts';

export interface StoreLimits {
  readonly minPartSize: number;
  readonly maxPutSize: number;
  readonly maxObjectSize: number;
  readonly maxKeysPerPage: number;
}

export const LIMITS: StoreLimits = {
  minPartSize: 5 * 1024 ** 2,
  maxPutSize: 5 * 1024 ** 3,
  maxObjectSize: 10_000 * 5 * 1024 ** 3,
  maxKeysPerPage: 1000,
};

/** Told of each change, so that it can be kept on disk; awaited before the request is answered. */
export interface Keeper {
  changed(bucket: Bucket, key: string): Promise<void>;
  bucketChanged(bucket: Bucket): Promise<void>;
  bucketDeleted(name: string): Promise<void>;
}

/** All that requests act on. */
export class World {
  readonly buckets = new Map<string, Bucket>();
  readonly clock: Clock;
  readonly region: string;
  readonly modes: Modes;
  readonly limits: StoreLimits;
  etags: 'md5' | 'fast';
  keeper: Keeper | undefined;
  /** `bucket/key` of sources whose next DELETE the fault `undone` swallows. */
  readonly undone = new Set<string>();
  readonly sessions = new Sessions();
  #keeping: Promise<unknown> = Promise.resolve();
  #versions = 0;

  constructor(options: {
    clock: Clock;
    region: string;
    modes: Modes;
    etags: 'md5' | 'fast';
    limits: StoreLimits;
  }) {
    this.clock = options.clock;
    this.region = options.region;
    this.modes = options.modes;
    this.etags = options.etags;
    this.limits = options.limits;
  }

  /** Keeps a change that no request waits for; `settled` tells how it went. */
  keep(change: (keeper: Keeper) => Promise<void>): void {
    if (!this.keeper) return;
    this.#keeping = Promise.all([this.#keeping, change(this.keeper)]);
    this.#keeping.catch(() => {});
  }

  /** Resolves when all of them are on disk; rejects with the first that failed. */
  async settled(): Promise<void> {
    await this.#keeping;
  }

  /** ms since the epoch in whole seconds, as Last-Modified tells it. */
  nowInSeconds(): number {
    return Math.floor(this.clock.now() / 1000) * 1000;
  }

  newVersionId(): string {
    this.#versions++;
    return `v${this.#versions.toString(36).padStart(8, '0')}${randomBytes(12).toString('hex')}`;
  }

  /** An ETag that is no MD5, and with its `-1` looks like none. */
  newEtag(): string {
    return `${randomBytes(16).toString('hex')}-1`;
  }

  addBucket(name: string, region = this.region): Bucket {
    const bucket = new Bucket(name, region, this.nowInSeconds());
    if (this.modes.versioning || this.modes.objectLock) bucket.versioning = 'Enabled';
    this.buckets.set(name, bucket);
    return bucket;
  }
}

/** One request. */
export interface Call {
  readonly world: World;
  readonly request: IncomingMessage;
  readonly operation: Operation;
  readonly address: Address;
  /** A byte string. */
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly signed: Signed | undefined;
  /** Signatures and payload hashes are checked. */
  readonly verify: boolean;
  readonly fault: FaultRule | undefined;
  /** Says "100 Continue" where the client waits for it. */
  readonly proceed: () => void;
  /** Waits where the connection has a limited speed. */
  readonly pace: ((bytes: number) => Promise<void>) | undefined;
  readonly received: (bytes: number) => void;
}

/** A call that has a bucket. */
export interface BucketCall extends Call {
  readonly bucket: Bucket;
}

export interface ContentRange {
  readonly content: Content;
  readonly offset: number;
  readonly length: number;
}

export interface Reply {
  readonly status: number;
  /** Names and values in turn, byte strings. */
  readonly headers: string[];
  /** XML as a byte string, or the bytes of an object. HEAD: what the length is of. */
  readonly body?: string | ContentRange;
  /** Bytes copied on the server, for `copyBandwidth`. */
  readonly copied?: number;
}

export function headerOf(call: Call, name: string): string | undefined {
  const value = call.headers[name];
  return typeof value === 'string' ? value : undefined;
}

export function xmlReply(body: string, headers: string[] = [], status = 200): Reply {
  return { status, headers: ['Content-Type', 'application/xml', ...headers], body };
}

export function emptyReply(status: number, headers: string[] = []): Reply {
  return { status, headers };
}

/** `x-amz-version-id` where the bucket keeps versions. */
export function versionHeader(object: StoredObject | undefined): string[] {
  return object?.versionId === undefined ? [] : ['x-amz-version-id', object.versionId];
}
