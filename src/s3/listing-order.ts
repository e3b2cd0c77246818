/**
 * Whether a store lists keys in the order of their UTF-8 bytes. S3 Express does not, and knows no `start-after`; it is known
 * by the bucket's name. Other stores are found out: a page in no order tells, and so does a refused `start-after`.
 */

import { compareKeys } from '../key-order.ts';
import type { Telemetry } from '../telemetry.ts';
import type { ListedObject, ListPage } from './store.ts';

function isSorted(keys: readonly string[]): boolean {
  for (let i = 1; i < keys.length; i++) {
    // Almost always this tells; the true order is looked at only where it does not.
    if (keys[i - 1]! >= keys[i]! && compareKeys(keys[i - 1]!, keys[i]!) > 0) return false;
  }
  return true;
}

export class ListingOrder {
  readonly #telemetry: Telemetry;
  #ordered: boolean;

  constructor(telemetry: Telemetry, ordered: boolean) {
    this.#telemetry = telemetry;
    this.#ordered = ordered;
  }

  get ordered(): boolean {
    return this.#ordered;
  }

  /** This store lists in no order; `how` that showed, for the log. */
  lost(how: string): void {
    if (!this.#ordered) return;
    this.#ordered = false;
    this.#telemetry.log.info({ how }, 'this store lists names in no order: directories are listed to their end');
  }

  /** The page as the layers above want it: in order in itself, and marked where the pages are not. */
  page(page: ListPage): ListPage {
    const keys = page.objects.map(({ key }) => key);
    if (this.#ordered) {
      if (isSorted(keys) && isSorted(page.prefixes)) return page;
      this.lost('a page');
    }
    const byKey = (a: ListedObject, b: ListedObject): number => compareKeys(a.key, b.key);
    return {
      ...page,
      objects: [...page.objects].sort(byKey),
      prefixes: [...page.prefixes].sort(compareKeys),
      unordered: true,
    };
  }
}
