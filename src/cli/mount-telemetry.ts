/** What a daemon keeps of what its layers tell: counts, who asks, what failed, and times for whoever listens. */
import { StoreError } from '../errors.ts';
import { Counters } from '../telemetry.ts';
import { Callers } from './callers.ts';
import { FailureMemory } from './failure-memory.ts';

export class MountTelemetry extends Counters {
  readonly callers = new Callers();
  readonly failures = new FailureMemory();
  /** Attempts that failed and were, or will be, made again. */
  readonly attempts = new FailureMemory();
  /** Sees every duration; set while metrics are served. */
  onTime: ((name: string, ms: number) => void) | undefined;

  override time(name: string, ms: number): void {
    super.time(name, ms);
    this.onTime?.(name, ms);
  }

  failed(path: string, doing: string, error: unknown): void {
    this.failures.add(path, doing, error);
  }

  retrying(error: unknown): void {
    if (!(error instanceof StoreError)) return;
    const { key = '', operation = 'request' } = error.details;
    this.attempts.add(key, operation, error);
  }

  /** Counts whose names begin with `prefix` and have nothing but a word after it, by that word. */
  byWord(prefix: string): Record<string, number> {
    const found: Record<string, number> = {};
    for (const [name, value] of this.values) {
      if (!name.startsWith(prefix)) continue;
      const word = name.slice(prefix.length);
      if (/^[A-Za-z0-9]+$/.test(word)) found[word] = value;
    }
    return found;
  }
}
