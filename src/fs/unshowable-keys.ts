/** Keys that no filesystem can show are left out of listings; the log tells of each once, and of a flood only that it is one. */
import type { Telemetry } from '../telemetry.ts';

/** Of how many unshowable keys the log tells before it says no more. */
const MAX_WARNINGS = 20;

export class UnshowableKeys {
  readonly #telemetry: Telemetry;
  readonly #warned = new Set<string>();

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  met(keys: readonly string[]): void {
    const { log } = this.#telemetry;
    for (const key of keys) {
      if (this.#warned.size > MAX_WARNINGS || this.#warned.has(key)) continue;
      this.#warned.add(key);
      if (this.#warned.size > MAX_WARNINGS) {
        log.warn({}, 'more keys that no filesystem can show; no more is said of them');
      } else {
        log.warn({ key }, 'a key that no filesystem can show is left out of listings; rename it with an S3 tool');
      }
    }
  }
}
