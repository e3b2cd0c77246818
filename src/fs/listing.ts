/**
 * What a LIST of a directory says, by name: objects, common prefixes and all styles of directory markers made one.
 *
 * A directory shows as a prefix, as an object `dir/`, as `dir_$folder$` (Hadoop's old S3 connectors), or as an object `dir`
 * with a directory's content type (this one only its HEAD tells). A directory shadows a file of the same name.
 */
import type { ListedObject, ListPage } from '../s3/store.ts';
import { compareKeys, HIDDEN_PREFIX, inoBelow, inoOf, isMangled, isShowable } from './keys.ts';

const FOLDER_SUFFIX = '_$folder$';

export interface ListedName {
  readonly name: string;
  /** The object of exactly this name. */
  readonly object?: ListedObject;
  readonly directory: boolean;
  /** Key of a `_$folder$` marker. */
  readonly folderMarker?: string;
}

export class Listing {
  readonly names = new Map<string, ListedName>();
  /** No more pages: what is not here does not exist. */
  complete = false;
  /** Asked for ahead of whoever may come; no program has read the directory since. */
  isAhead = false;
  /** It answered somebody since `ListingLimit` last looked for room. */
  used = false;
  /** Token of the page after those that are here. */
  continuation: string | undefined;
  /** Pages come in no order: until it is complete nothing is known of a name that is not here. */
  unordered = false;
  /** Greatest key or prefix so far, relative to the directory; undefined for `unordered` ones. */
  last: string | undefined;
  /** Where each page that is here ended, and when it was asked for. */
  readonly #pages: { readonly last: string; readonly at: number }[] = [];
  /** Start of the (first) request, ms of the monotonic clock: what it says is at least that fresh. */
  readonly at: number;

  #directories: number | undefined;
  #order: string[] | undefined;
  #rank: Map<string, number> | undefined;

  constructor(at: number) {
    this.at = at;
  }

  /** Adds a page asked for at `at`: a name that came as a file before may turn out to be a directory too. */
  add(page: ParsedPage, at: number): void {
    for (const listed of page.names) {
      const known = this.names.get(listed.name);
      const directory = listed.directory || (known?.directory ?? false);
      this.names.set(listed.name, known ? { ...known, ...listed, directory } : listed);
    }
    this.unordered ||= page.unordered;
    this.last = page.last ?? (page.unordered ? undefined : this.last);
    if (page.last !== undefined) this.#pages.push({ last: page.last, at });
    this.#directories = undefined;
    this.#order = undefined;
    this.#rank = undefined;
    this.#inoOrder = undefined;
    this.#inoRank = undefined;
  }

  /**
   * How old what is said of `name` is, ms of the monotonic clock; undefined where a page that is not here yet may still
   * show it, or a directory of that name.
   */
  ageOf(name: string): number | undefined {
    if (this.complete) return this.at;
    const place = `${name}/`;
    let [low, high] = [0, this.#pages.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(place, this.#pages[middle]!.last) <= 0) high = middle;
      else low = middle + 1;
    }
    return this.#pages[low]?.at;
  }

  /** How many of the names are directories. */
  get directories(): number {
    if (this.#directories === undefined) {
      this.#directories = 0;
      for (const { directory } of this.names.values()) if (directory) this.#directories++;
    }
    return this.#directories;
  }

  /** Gives a name what it has now, or takes it away. */
  change(name: string, listed: ListedName | undefined): void {
    if (listed) this.names.set(name, listed);
    else this.names.delete(name);
    this.#directories = undefined;
  }

  /** Names in the order in which a reader of the directory meets them. */
  get order(): readonly string[] {
    this.#order ??= sortNames([...this.names.keys()]);
    return this.#order;
  }

  #inoOrder: string[] | undefined;
  #inoRank: Map<string, number> | undefined;

  /** Names in the order of their inode numbers, in which cp and rm go through a directory. `key`: the directory's. */
  inoOrder(key: string): readonly string[] {
    if (!this.#inoOrder) {
      const parent = inoOf(key);
      const inos = new Map<string, bigint>();
      for (const { name, directory } of this.names.values()) {
        inos.set(name, inoBelow(parent, directory ? `${name}/` : name));
      }
      this.#inoOrder = [...inos.keys()].sort((a, b) => (inos.get(a)! < inos.get(b)! ? -1 : 1));
    }
    return this.#inoOrder;
  }

  inoRankOf(key: string, name: string): number | undefined {
    this.#inoRank ??= new Map(this.inoOrder(key).map((each, rank) => [each, rank]));
    return this.#inoRank.get(name);
  }

  /** Place of a name in `order`. Names added since it was made have none. */
  rankOf(name: string): number | undefined {
    this.#rank ??= new Map(this.order.map((each, rank) => [each, rank]));
    return this.#rank.get(name);
  }
}

export interface ParsedPage {
  /** Unordered; a name once, unless a later page adds its directory. */
  readonly names: readonly ListedName[];
  /** The directory's own marker `dir/`. */
  readonly marker: ListedObject | undefined;
  /** Keys that no filesystem can show. */
  readonly unshowable: readonly string[];
  /** The greatest key or prefix of the page, relative to the directory; names whose `name + '/'` is above may still change. */
  readonly last: string | undefined;
  /** What the next page has may lie anywhere. */
  readonly unordered: boolean;
}

const HIDDEN_NAMES: ReadonlySet<string> = new Set([
  HIDDEN_PREFIX.slice(0, -1),
  `${HIDDEN_PREFIX.slice(0, -1)}${FOLDER_SUFFIX}`,
]);

/** Takes a page of the directory with key `directory` apart. */
export function parsePage(directory: string, page: ListPage): ParsedPage {
  const names = new Map<string, ListedName>();
  const unshowable: string[] = [];
  let marker: ListedObject | undefined;
  for (const object of page.objects) {
    const name = object.key.slice(directory.length);
    if (name === '') {
      marker = object;
      continue;
    }
    // Objects that would show where our own prefix is: lookup does not know them either.
    if (HIDDEN_NAMES.has(object.key)) continue;
    if (name.length > FOLDER_SUFFIX.length && name.endsWith(FOLDER_SUFFIX)) {
      const folder = name.slice(0, -FOLDER_SUFFIX.length);
      if (isShowable(folder)) {
        const known = names.get(folder);
        names.set(folder, { ...known, name: folder, directory: true, folderMarker: object.key });
        continue;
      }
    }
    if (!isShowable(name) || isMangled(name)) unshowable.push(object.key);
    else names.set(name, { ...names.get(name), name, object, directory: names.get(name)?.directory ?? false });
  }
  for (const prefix of page.prefixes) {
    if (prefix === HIDDEN_PREFIX) continue;
    const name = prefix.slice(directory.length, -1);
    if (!isShowable(name) || isMangled(name)) unshowable.push(prefix);
    else names.set(name, { ...names.get(name), name, directory: true });
  }
  const lastObject = page.objects.at(-1)?.key;
  const lastPrefix = page.prefixes.at(-1);
  const unordered = page.unordered ?? false;
  const last =
    lastObject === undefined || (lastPrefix !== undefined && compareKeys(lastPrefix, lastObject) > 0)
      ? lastPrefix
      : lastObject;
  return {
    names: [...names.values()],
    marker,
    unshowable,
    last: unordered ? undefined : last?.slice(directory.length),
    unordered,
  };
}

/** Sorts as a listing with directories does, each name as `name/`. */
export function sortNames(names: string[]): string[] {
  const keys = new Map(names.map(name => [name, `${name}/`]));
  return names.sort((a, b) => compareKeys(keys.get(a)!, keys.get(b)!));
}
