/** Plays the time that S3 takes: first bytes after some ms, connections of a limited speed. */
import type { Socket } from 'node:net';
import { type Clock, delay } from '../concurrency.ts';
import { OPERATIONS, type Operation } from './route.ts';

/** ms to the first byte of an answer, by operation (`UploadPart`) or class (`get put list head copy delete mpu …`), else `default`. */
export type Latency = Readonly<Record<string, number>>;

export interface Pace {
  latency: Latency;
  /** Bytes per second of one connection, each way. */
  bandwidthPerConnection: number | undefined;
  /** Bytes per second of server-side copies. */
  copyBandwidth: number | undefined;
}

export function latencyOf(pace: Pace, operation: Operation | undefined): number {
  if (operation === undefined) return pace.latency['default'] ?? 0;
  return pace.latency[operation] ?? pace.latency[OPERATIONS[operation]] ?? pace.latency['default'] ?? 0;
}

/** Bytes sent or received between two waits: small enough to look even, large enough for timers of 1 ms. */
export const PACE_STEP = 256 * 1024;

/** When each connection is free again, by `clock.monotonic()`, apart for each direction. */
export class ConnectionPacer {
  readonly #clock: Clock;
  readonly #free = new WeakMap<Socket, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when `bytes` more have passed at `bandwidth`; measured on a running schedule, so that delays do not add up. */
  async pass(socket: Socket, bytes: number, bandwidth: number): Promise<void> {
    const now = this.#clock.monotonic();
    const due = Math.max(now, this.#free.get(socket) ?? 0) + (bytes / bandwidth) * 1000;
    this.#free.set(socket, due);
    // Timers have 1 ms: what is less is made up by the next step.
    if (due - now >= 1) await delay(this.#clock, due - now);
  }
}

/** Reads `get=20,put=30ms,default=5`. */
export function parseLatency(text: string, parseDuration: (text: string) => number): Latency {
  const latency: Record<string, number> = {};
  for (const item of text.split(',')) {
    if (item === '' || item === 'off') continue;
    const [name = '', value = ''] = item.split('=', 2);
    latency[name] = parseDuration(value);
  }
  return latency;
}
