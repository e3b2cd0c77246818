/**
 * What the layers tell about themselves: log lines and counts. They get a `Telemetry` handed in and know neither pino nor
 * a metrics library; `cli/mount` decides where it goes. Nothing here is called on the read path but `count`.
 */

export type LogFields = Readonly<Record<string, unknown>>;

/** Secrets never go into fields or messages. */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export interface Telemetry {
  readonly log: Log;
  /** Adds `by` (1) to the counter `name`, such as `s3.GetObject` or `cache.hit_bytes`. */
  count(name: string, by?: number): void;
  /** Records one duration, in ms, under `name`, such as `op.read`. */
  time(name: string, ms: number): void;
  /**
   * Something failed of which no program is told, such as a save in the background. `path` relative to the mount point,
   * `doing` one word for people, such as `save`. Absent where nobody keeps it.
   */
  failed?(path: string, doing: string, error: unknown): void;
  /** An attempt of a request failed and will be made again: whoever waits may ask why it takes so long. */
  retrying?(error: unknown): void;
}

const nothing = (): void => {};

/** For tests and tools that do not care. */
export const silentTelemetry: Telemetry = {
  log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
  count: nothing,
  time: nothing,
};

/** Counts by name, readable by tests and by `status`. */
export class Counters implements Telemetry {
  readonly log: Log;
  readonly values = new Map<string, number>();

  constructor(log: Log = silentTelemetry.log) {
    this.log = log;
  }

  count(name: string, by = 1): void {
    this.values.set(name, (this.values.get(name) ?? 0) + by);
  }

  time(name: string, ms: number): void {
    this.count(`${name}.count`);
    this.count(`${name}.ms`, ms);
  }

  get(name: string): number {
    return this.values.get(name) ?? 0;
  }
}
