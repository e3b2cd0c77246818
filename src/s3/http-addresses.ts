/**
 * The addresses behind a name, in turn.
 *
 * S3 answers a lookup with several addresses of its front ends; spreading connections over them is what AWS asks for. The
 * answer holds for a while, so that a burst of connections costs one lookup.
 */
import { lookup as systemLookup } from 'node:dns';
import { isIP } from 'node:net';
import type { Clock } from '../concurrency.ts';
import { HttpError } from './http-message.ts';

/** Resolves a name to addresses; rejects with an error whose `code` is like `ENOTFOUND`. */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** S3's records live for 5 s or so; a lookup occupies a thread of Node's pool, hence not for every burst. */
const ADDRESSES_LIVE_MS = 30_000;
/** An address that took no connection is passed over for so long, while there are others. */
const AVOID_MS = 30_000;

export const lookupBySystem: Lookup = host =>
  new Promise((resolve, reject) => {
    systemLookup(host, { all: true, verbatim: true }, (error, found) => {
      if (error) reject(error);
      else resolve(found.map(entry => entry.address));
    });
  });

export class Addresses {
  readonly #host: string;
  readonly #lookup: Lookup;
  readonly #clock: Clock;
  #known: readonly string[] = [];
  #expires = Number.NEGATIVE_INFINITY;
  #next = 0;
  #pending: Promise<readonly string[]> | undefined;
  readonly #avoided = new Map<string, number>();

  constructor(host: string, lookup: Lookup, clock: Clock) {
    this.#host = host;
    this.#lookup = lookup;
    this.#clock = clock;
  }

  /** All addresses, the one whose turn it is first, those that failed lately last. Throws `HttpError` ('dns'). */
  async inTurn(): Promise<readonly string[]> {
    const known = await this.#resolve();
    const from = this.#next++ % known.length;
    const turned = [...known.slice(from), ...known.slice(0, from)];
    if (this.#avoided.size === 0) return turned;
    const now = this.#clock.monotonic();
    const avoid = (address: string): boolean => (this.#avoided.get(address) ?? 0) > now;
    return [...turned.filter(address => !avoid(address)), ...turned.filter(avoid)];
  }

  failed(address: string): void {
    this.#avoided.set(address, this.#clock.monotonic() + AVOID_MS);
  }

  worked(address: string): void {
    this.#avoided.delete(address);
  }

  async #resolve(): Promise<readonly string[]> {
    if (isIP(this.#host)) return [this.#host];
    const now = this.#clock.monotonic();
    if (now < this.#expires) return this.#known;
    this.#pending ??= this.#lookup(this.#host).finally(() => {
      this.#pending = undefined;
    });
    try {
      const found = await this.#pending;
      if (found.length === 0) throw new Error('no address');
      this.#known = found;
      this.#expires = this.#clock.monotonic() + ADDRESSES_LIVE_MS;
      // Addresses come and go: what is no longer named need not be remembered.
      for (const address of this.#avoided.keys()) if (!found.includes(address)) this.#avoided.delete(address);
      return found;
    } catch (error) {
      // A resolver that is down for a moment is no reason to forget what it said before.
      if (this.#known.length > 0) return this.#known;
      const code = (error as NodeJS.ErrnoException).code ?? 'no address';
      throw new HttpError('dns', `the name ${this.#host} does not resolve (${code})`, false, error);
    }
  }
}
