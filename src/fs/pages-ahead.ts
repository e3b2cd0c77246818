/**
 * The pages of a large directory after its first one, in order; several are asked for at once.
 *
 * Difficulties: (1) Nobody knows where the fifth page begins before the fourth is there: places are guessed from the
 * numbering of the names (`page-places.ts`). (2) A guess must cost no name: a page is taken only where it begins at or before
 * the end of those before it, and what both have is taken once; where there is a gap, what is in it is asked for. (3) Guesses
 * may be wrong, and nobody knows where the directory ends: there are never many more guesses than pages that came, and after
 * some misses no more.
 */
import type { Clock } from '../concurrency.ts';
import type { ListPage, ListRequest, ObjectStore } from '../s3/store.ts';
import { compareKeys } from './keys.ts';
import { type Numbering, nameAt, numberIn, numberingOf } from './page-places.ts';

/** Names of a full page. */
const PAGE_NAMES = 1000;
/**
 * From the place of one page to the next: fewer names than a page has, so that they adjoin. Where names are numbered without
 * exception few need to be in both; hashed ones lie unevenly: of a thousand by chance some thirty more or less.
 */
const STRIDE_EVEN = 998;
const STRIDE_UNEVEN = 900;
/** How much of what is known of the step is that of the last page. */
const LAST_SHARE = 0.4;
/**
 * Pages under way at most: at 40 ms each, 150,000 names a second, which is more than a program asks for. So many are asked for
 * in vain where the directory ends.
 */
const MAX_AHEAD = 6;
/** Guesses that may be wrong before none are made any more; and of so many pages one more. */
const MISSES = 2;
const PAGES_PER_MISS = 15;

export interface PageAhead {
  readonly page: ListPage;
  /** When it was asked for, ms of the monotonic clock. */
  readonly at: number;
}

interface Asked {
  /** It has the keys after this one. */
  readonly after: string;
  readonly answer: Promise<PageAhead>;
}

export class PagesAhead {
  readonly directory: string;
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  /** Key up to which all was delivered, and the token for what follows. */
  #last: string;
  #continuation: string | undefined;
  #numbering: Numbering | undefined;
  #asked: Asked[] = [];
  #pages = 1;
  #misses = 0;

  /**
   * `names`: those that are there, in S3's order, relative to the directory with the key `directory`. All up to `last` was
   * delivered; `continuation`: the token for what follows, where there is one. A name behind `last` is not S3's: this mount
   * has made it meanwhile.
   */
  constructor(
    store: ObjectStore,
    clock: Clock,
    directory: string,
    names: readonly string[],
    last: string,
    continuation: string | undefined,
  ) {
    this.directory = directory;
    this.#store = store;
    this.#clock = clock;
    this.#last = directory + last;
    this.#continuation = continuation;
    this.#numbering = numberingOf(names);
  }

  /** The page after those that were delivered. `next` undefined: it is the last. After an error the same page is asked for again. */
  async next(): Promise<PageAhead> {
    for (;;) {
      this.#askAhead();
      const asked = this.#asked.shift()!;
      const from = this.#last;
      const { page, at } = await asked.answer.catch(error => {
        this.#asked = [];
        throw error;
      });
      const rest = {
        ...page,
        objects: this.#new(page.objects, ({ key }) => key),
        prefixes: this.#new(page.prefixes, key => key),
      };
      const last = lastOf(rest);
      if (last !== undefined) {
        if (rest.objects.length + rest.prefixes.length > PAGE_NAMES / 4) this.#numbering = this.#renumbered(page);
        this.#last = last;
      }
      this.#pages++;
      if (page.next === undefined) {
        this.#asked = [];
        return { page: rest, at };
      }
      // A page that nothing is in (of keys that are no UTF-8, or deleted ones) has its token too.
      if (last !== undefined || asked.after === from) {
        this.#continuation = page.next;
        return { page: rest, at };
      }
      // All of it was there already. Worse than a gap, where something was found at least.
      this.#misses += 2;
    }
  }

  #new<T>(found: readonly T[], keyOf: (each: T) => string): readonly T[] {
    const first = found[0];
    if (first === undefined || compareKeys(keyOf(first), this.#last) > 0) return found;
    return found.filter(each => compareKeys(keyOf(each), this.#last) > 0);
  }

  #renumbered(page: ListPage): Numbering | undefined {
    const names = [...page.objects.map(({ key }) => key), ...page.prefixes].map(key =>
      key.slice(this.directory.length),
    );
    if (page.objects.length > 0 && page.prefixes.length > 0) names.sort(compareKeys);
    const [before, now] = [this.#numbering, numberingOf(names)];
    if (!now || before?.prefix !== now.prefix || before.width !== now.width) return now ?? before;
    return { ...now, step: before.step + (now.step - before.step) * LAST_SHARE };
  }

  get #window(): number {
    if (this.#misses > MISSES + this.#pages / PAGES_PER_MISS) return 1;
    return Math.min(MAX_AHEAD, 1 + Math.floor(this.#pages / 3));
  }

  /** Asks for the page that comes next, where none that is under way has it, and for those behind it. */
  #askAhead(): void {
    const first = this.#asked[0];
    if (!first || compareKeys(first.after, this.#last) > 0) {
      if (first) this.#misses++;
      const continuation = this.#continuation;
      const from = continuation === undefined ? { startAfter: this.#last } : { continuation };
      // A gap that nobody foresaw is mostly small; after so many misses it is none of these.
      const isSmall = first !== undefined && this.#window > 1;
      this.#asked.unshift(this.#ask(this.#last, isSmall ? { ...from, maxKeys: PAGE_NAMES / 4 } : from));
    }
    while (this.#asked.length < this.#window) {
      const after = this.#placeAfter(this.#asked.at(-1)!.after);
      if (after === undefined) return;
      this.#asked.push(this.#ask(after, { startAfter: after }));
    }
  }

  #placeAfter(place: string): string | undefined {
    const numbering = this.#numbering;
    const value = numbering && numberIn(place.slice(this.directory.length), numbering);
    if (value === undefined) return undefined;
    const name = nameAt(
      value + numbering!.step * (Number.isInteger(numbering!.step) ? STRIDE_EVEN : STRIDE_UNEVEN),
      numbering!,
    );
    if (name === undefined) return undefined;
    const after = this.directory + name;
    return compareKeys(after, place) > 0 ? after : undefined;
  }

  #ask(after: string, from: Pick<ListRequest, 'continuation' | 'startAfter' | 'maxKeys'>): Asked {
    const at = this.#clock.monotonic();
    const answer = this.#store.list({ prefix: this.directory, delimiter: '/', ...from }).then(page => ({ page, at }));
    // Whoever comes to it is told the error; nobody may.
    answer.catch(() => {});
    return { after, answer };
  }
}

function lastOf(page: ListPage): string | undefined {
  const object = page.objects.at(-1)?.key;
  const prefix = page.prefixes.at(-1);
  if (object === undefined || prefix === undefined) return object ?? prefix;
  return compareKeys(object, prefix) > 0 ? object : prefix;
}
