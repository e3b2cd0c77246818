/** What a few runs of the same thing say together. */

export interface Summary {
  readonly median: number;
  /** (largest − smallest) ÷ median; 0 for one run. */
  readonly spread: number;
  readonly runs: number;
}

/** Rows whose runs differ by more than this say little, and are marked. */
export const WIDE_SPREAD = 0.15;

/** Below this factor between plain HTTP and a mount, the server's part in the mount's figure is too large to ignore. */
export const BOUND_FACTOR = 1.5;

/** Throws RangeError where there are no values. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('no values to summarize');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  const range = sorted.at(-1)! - sorted[0]!;
  return { median, spread: median === 0 ? 0 : range / median, runs: sorted.length };
}

/** Throws RangeError where there are no values, or one is not above 0. */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0 || values.some(value => !(value > 0))) throw new RangeError('only values above 0');
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How long all `total` would have taken where `done` took `seconds`; `undefined` where nothing was done. */
export function extrapolate(seconds: number, done: number, total: number): number | undefined {
  return done > 0 ? (seconds * Math.max(done, total)) / done : undefined;
}

/** `ours` and `raw`: seconds, or rates with `higherIsBetter`. True where plain HTTP is not `BOUND_FACTOR` times as fast. */
export function boundByServer(ours: number, raw: number, higherIsBetter: boolean): boolean {
  return higherIsBetter ? raw < BOUND_FACTOR * ours : ours < BOUND_FACTOR * raw;
}

/** How many times as fast `ours` is; above 1: faster. */
export function ratio(ours: number, other: number, higherIsBetter: boolean): number {
  return higherIsBetter ? ours / other : other / ours;
}
