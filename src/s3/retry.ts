/** When a failed request is sent again. All waiting goes by the injected clock; randomness is injected too. */
import type { CancelSignal, Clock } from '../concurrency.ts';
import { delay } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Remedy } from './error-kinds.ts';
import { Failure } from './error-kinds.ts';

export interface RetryPolicy {
  /** Attempts in a row that brought nothing; one that moved `WORTHWHILE` bytes of a body starts the count anew. Default 8. */
  readonly attempts: number;
  /**
   * No attempt begins later than this many ms after the first (or after the last that moved bytes), but for the one that follows
   * an attempt that took as long by itself: the answer to a copy is waited for longer than this, and a write whose answer
   * was lost is known to be done only by its repetition. Default 60 s.
   */
  readonly deadline: number;
  /** The first wait is up to this many ms; each further one up to twice as much. Default 100. */
  readonly base: number;
  /** No wait is longer than this, in ms. Default 8 s. */
  readonly longest: number;
}

export const DEFAULT_RETRY: RetryPolicy = { attempts: 8, deadline: 60_000, base: 100, longest: 8_000 };

/**
 * Bytes of a body that show that the next attempt will get further. With fewer, a body that stalls each time half-way would be
 * tried as often as it can be halved.
 */
const WORTHWHILE = 64 * 1024;

/** A store that asks for fewer requests is left alone for longer: S3's partitions take seconds to split. */
const THROTTLED_BASE_MS = 500;

/** The wait before attempt `failed + 1`, in ms: anything up to a bound that doubles, so that clients spread. */
export function backoff(policy: RetryPolicy, failed: number, throttled: boolean, random: () => number): number {
  const base = throttled ? Math.max(policy.base, THROTTLED_BASE_MS) : policy.base;
  const bound = Math.min(policy.longest, base * 2 ** Math.min(failed - 1, 20));
  // A wait of nearly nothing helps nobody.
  return bound * (0.25 + 0.75 * random());
}

/** What an attempt is told, and tells. */
export interface AttemptContext {
  /** Counts from 1. */
  readonly number: number;
  /** An attempt before this one may have been carried out. */
  readonly unknown: boolean;
  /** `bytes` of this attempt's body have moved. */
  progress(bytes: number): void;
  /** They were of no use: the next attempt begins anew. */
  wasted(): void;
  /** The transport repeated the request by itself: its first sending may have been carried out. */
  repeated(): void;
}

/** `S` is what requests are about. */
export interface RetryEnvironment<S> {
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  random(): number;
  /** Turns whatever an attempt threw into a `Failure`; throws what is none (a bug). */
  failure(error: unknown, subject: S): Failure;
  /** Sets something right; true if another attempt now makes sense. Each kind of remedy is tried once. */
  remedy(remedy: Remedy): Promise<boolean>;
  /** An attempt failed and another will follow after `wait` ms. */
  retrying(failure: Failure, wait: number): void;
}

class Context implements AttemptContext {
  number = 0;
  unknown = false;
  moved = false;
  progress(bytes: number): void {
    if (bytes >= WORTHWHILE) this.moved = true;
  }
  wasted(): void {
    this.moved = false;
  }
  repeated(): void {
    this.unknown = true;
  }
}

/** Runs `attempt` until it succeeds or there is no use in trying. Rejects with `Failure`, `unknownBefore` set. */
export async function withRetries<S, T>(
  environment: RetryEnvironment<S>,
  subject: S,
  signal: CancelSignal | undefined,
  attempt: (context: AttemptContext) => Promise<T>,
): Promise<T> {
  const { policy, clock } = environment;
  const context = new Context();
  let failed = 0;
  let since: number | undefined;
  /** The one attempt that the deadline does not keep from beginning was made. */
  let isLateMade = false;
  let remedied: Set<Remedy['what']> | undefined;
  for (;;) {
    context.number++;
    context.moved = false;
    const began = clock.monotonic();
    since ??= began;
    try {
      return await attempt(context);
    } catch (thrown) {
      const failure = environment.failure(thrown, subject);
      // Kept from attempts before as well: what they did is still not known.
      context.unknown ||= failure.unknown;
      failure.unknownBefore = context.unknown;
      const { remedy } = failure;
      if (remedy && !remedied?.has(remedy.what)) {
        remedied ??= new Set();
        remedied.add(remedy.what);
        if (await environment.remedy(remedy)) continue;
      }
      if (!failure.retry) throw failure;
      if (context.moved) {
        failed = 0;
        since = clock.monotonic();
        isLateMade = false;
      }
      failed++;
      const wait = backoff(policy, failed, failure.throttled, () => environment.random());
      if (failed >= policy.attempts) throw failure;
      const next = clock.monotonic() + wait;
      if (next - since > policy.deadline) {
        const outlasts = next - began > policy.deadline;
        if (!outlasts || isLateMade) throw failure;
        isLateMade = true;
      }
      environment.retrying(failure, wait);
      // The clock's timers let a process end; one that waits to try again is not done, even with no connection open.
      const alive = setInterval(() => {}, 0x7fff_ffff);
      try {
        await delay(clock, wait, signal);
      } catch {
        throw interrupted(failure);
      } finally {
        clearInterval(alive);
      }
    }
  }
}

/** The wait was aborted: what the caller learns is that, with what had failed before as its cause. */
function interrupted(failure: Failure): Failure {
  const { operation, key } = failure.error.details;
  const interruption = new Failure(
    new StoreError('aborted', `${failure.error.message}; interrupted before it was tried again`, {
      cause: failure.error,
      ...(operation === undefined ? {} : { operation }),
      ...(key === undefined ? {} : { key }),
    }),
  );
  interruption.unknownBefore = failure.unknownBefore;
  return interruption;
}
