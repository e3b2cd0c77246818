/** Those who wait for room of some kind, first come first served. Each may give up by its signal. */
import { StoreError } from '../errors.ts';

interface Place<Request> {
  readonly request: Request;
  resolve(): void;
  reject(error: unknown): void;
}

export class WaitingLine<Request> {
  readonly #places: Place<Request>[] = [];
  readonly #room: string;
  readonly #stands: () => void;
  readonly #left: () => void;

  /**
   * `room`: what is waited for, in words; `stands`: told when one more waits, who can make room begins; `left`: told when
   * somebody gave up, for those behind may ask for less.
   */
  constructor(room: string, stands: () => void, left: () => void) {
    this.#room = room;
    this.#stands = stands;
    this.#left = left;
  }

  get length(): number {
    return this.#places.length;
  }

  /** What the first in line waits for. */
  get first(): Request | undefined {
    return this.#places[0]?.request;
  }

  /**
   * Resolves when served. `goesBefore`: whom in line it overtakes, with all behind that one.
   * @throws {StoreError} `aborted`, or that with which it was turned away.
   */
  wait(
    request: Request,
    signal: AbortSignal | undefined,
    goesBefore: (other: Request) => boolean = () => false,
  ): Promise<void> {
    if (signal?.aborted) return Promise.reject(this.#interrupted());
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#places.splice(this.#places.indexOf(place), 1);
        reject(this.#interrupted());
        this.#left();
      };
      const place: Place<Request> = {
        request,
        resolve: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
        reject: error => {
          signal?.removeEventListener('abort', leave);
          reject(error);
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      const index = this.#places.findIndex(other => goesBefore(other.request));
      this.#places.splice(index < 0 ? this.#places.length : index, 0, place);
      this.#stands();
    });
  }

  /** The first in line has what it waited for. */
  serveFirst(): void {
    this.#places.shift()?.resolve();
  }

  /** Nobody in line will get it. */
  turnAway(error: () => unknown): void {
    for (const place of this.#places.splice(0)) place.reject(error());
  }

  #interrupted(): StoreError {
    return new StoreError('aborted', `interrupted while waiting for ${this.#room}`);
  }
}
