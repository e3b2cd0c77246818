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

/** When each connection is free again, by `clock.monotonic()`. */
export class ConnectionPacer {
  readonly #clock: Clock;
  readonly #free = new WeakMap<Socket, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The pace of one body that starts now, or when the connection is free. The function is told of bytes and resolves when
   * they have passed at `bandwidth`. Time lost to late timers and a busy loop is made up within the body: without that, 16
   * connections of 90 MB/s gave half of it.
   */
  body(socket: Socket, bandwidth: number): (bytes: number) => Promise<void> {
    let due = Math.max(this.#clock.monotonic(), this.#free.get(socket) ?? 0);
    return async bytes => {
      due += (bytes / bandwidth) * 1000;
      this.#free.set(socket, due);
      const wait = due - this.#clock.monotonic();
      // Timers have 1 ms: what is less is made up by the next step.
      if (wait >= 1) await delay(this.#clock, wait);
    };
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
