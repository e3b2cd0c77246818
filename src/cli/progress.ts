/** How far something is, for whoever waits: one line that is written over on a terminal, a line now and then elsewhere. */

export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** ms between two changes of the line: faster is unreadable. */
const REDRAW = 100;
/** ms between two lines where nothing can be written over: a log of an hour then has some hundred. */
const LINE_EVERY = 10_000;
/** ms before the first such line: what is done by then needs no word. */
const FIRST_LINE = 2_000;

export class ProgressLine {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #start: number;
  #shownAt = Number.NEGATIVE_INFINITY;
  #drawn = false;

  constructor(stream: ProgressStream = process.stderr, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
    this.#start = now();
  }

  show(text: string): void {
    const now = this.#now();
    if (this.#stream.isTTY) {
      if (now - this.#shownAt < REDRAW) return;
      // A line that wraps could not be written over.
      this.#stream.write(`\r${text.slice(0, (this.#stream.columns ?? 80) - 1)}\u001b[K`);
      this.#drawn = true;
    } else {
      if (now - this.#start < FIRST_LINE || now - this.#shownAt < LINE_EVERY) return;
      this.#stream.write(`s3mount: ${text}\n`);
    }
    this.#shownAt = now;
  }

  /** Takes the line away: what comes next is the outcome. */
  end(): void {
    if (this.#drawn) this.#stream.write('\r\u001b[K');
    this.#drawn = false;
  }
}

/** `[#########           ]  45%`; `fraction` from 0 to 1. */
export function barText(fraction: number, width = 20): string {
  const part = Math.min(1, Math.max(0, fraction));
  const filled = Math.floor(part * width);
  return `[${'#'.repeat(filled)}${' '.repeat(width - filled)}] ${String(Math.floor(part * 100)).padStart(3)}%`;
}
