/** Which known name was meant: for "unknown option" messages. */

/** Levenshtein's distance, a swap of neighbours counted as one: the commonest slip of the fingers. */
export function editDistance(from: string, to: string): number {
  let twoAbove: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      let best = Math.min(above[column]! + 1, current[column - 1]! + 1, above[column - 1]! + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (swapped) best = Math.min(best, twoAbove[column - 2]! + 1);
      current.push(best);
    }
    twoAbove = above;
    above = current;
  }
  return above[to.length]!;
}

/**
 * The known name nearest to `word`, if it is near enough to be a slip: a third of its letters, but two at least.
 * Hyphens and underscores, capitals and small letters are the same here: people mix flags and mount words.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll('-', '_');
  const target = plain(word);
  const limit = Math.max(2, Math.floor(target.length / 3));
  let found: string | undefined;
  let least = limit + 1;
  for (const name of known) {
    const candidate = plain(name);
    if (Math.abs(candidate.length - target.length) >= least) continue;
    const distance = editDistance(target, candidate);
    if (distance < least && distance < candidate.length) {
      least = distance;
      found = name;
    }
  }
  return found;
}
