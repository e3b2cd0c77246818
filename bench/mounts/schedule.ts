/** Which cell is run next, within the time that there is. */

export interface Task {
  readonly profile: string;
  readonly workload: string;
  readonly contender: string;
  /** Of ours, and `raw`: theirs are the figures that must not stand on one run. */
  readonly first: boolean;
  /**
   * Where there is little time: 0 what no row may lack (ours as it comes, and `raw`), 1 what tells something else about this
   * row (s3fs; a mode of ours that goes another way here), 2 the rest.
   */
  readonly need: 0 | 1 | 2;
}

/** What is known of a task that has been run: its seconds from preparation to the end, and whether another run tells more. */
export interface Known {
  readonly seconds: number;
  /** Cut off or failed: another run would only tell the same. */
  readonly done: boolean;
}

/**
 * The order of the first round. With time for everything row by row, so that what stands side by side was measured in the same
 * minute; with little, what is needed most goes through all rows first, or the last rows would have no figures.
 */
export function firstRound(tasks: readonly Task[], isShort: boolean): Task[] {
  return isShort ? [...tasks].sort((a, b) => a.need - b.need) : [...tasks];
}

/**
 * The order of a further round: ours and `raw` first, then the others, the quick ones before the slow ones, so that as many
 * as possible get their runs. The first round goes through everything as it stands.
 */
export function furtherRound(tasks: readonly Task[], known: (task: Task) => Known | undefined): Task[] {
  const again = tasks.filter(task => known(task)?.done === false);
  const ours = again.filter(task => task.first);
  const others = again.filter(task => !task.first);
  return [...ours, ...others.sort((a, b) => known(a)!.seconds - known(b)!.seconds)];
}

/** True where a task that took `seconds` still fits in before `deadline`; all in ms of one clock but `seconds`. */
export function fits(now: number, deadline: number, seconds: number): boolean {
  return now + seconds * 1000 <= deadline;
}
