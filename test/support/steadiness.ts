/** Whether what was measured again and again stays where it is: the same rule for the test of a minute and the soak of an hour. */

export interface Allowance {
  /** The most of the last third may be so many times that of the middle third, */
  readonly times: number;
  /** and so much above, for what swings by whole pieces. */
  readonly plus: number;
  /** Up to here it may grow at any time: what fills slowly on a busy machine is no leak. */
  readonly fill: number;
}

export interface Steadiness {
  /** The most of the middle third, and of the last. */
  readonly before: number;
  readonly after: number;
  readonly isSteady: boolean;
}

/** Below that a third has no most of its own. */
const LEAST_VALUES = 4;

/** The first third does not count: caches fill there. A series that is too short is not steady: it shows nothing. */
export function steadiness(values: readonly number[], { times, plus, fill }: Allowance): Steadiness {
  const third = Math.floor(values.length / 3);
  const most = (list: readonly number[]): number => list.reduce((a, b) => Math.max(a, b), 0);
  const before = most(values.slice(third, -third));
  const after = most(values.slice(values.length - third));
  return { before, after, isSteady: third >= LEAST_VALUES && after <= Math.max(before * times + plus, fill) };
}
