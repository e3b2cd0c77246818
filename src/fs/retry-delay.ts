/** Backoff of what failed and is tried again in the background, in ms: doubled from the first to the last. */
const FIRST = 1000;
const LAST = 60_000;

/** ms to wait after so many failures in a row. */
export function retryDelay(failures: number): number {
  return Math.min(LAST, FIRST * 2 ** Math.min(failures - 1, 10));
}
