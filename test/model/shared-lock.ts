/** A lock that many may share or one may have, in order of arrival: the kernel's i_rwsem. */

interface Waiter {
  readonly shared: boolean;
  start(): void;
}

export class SharedLock {
  #sharing = 0;
  #exclusive = false;
  readonly #waiters: Waiter[] = [];

  shared<T>(work: () => Promise<T>): Promise<T> {
    return this.#run(true, work);
  }

  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#run(false, work);
  }

  async #run<T>(shared: boolean, work: () => Promise<T>): Promise<T> {
    if (this.#waiters.length > 0 || this.#exclusive || (!shared && this.#sharing > 0)) {
      await new Promise<void>(start => this.#waiters.push({ shared, start }));
    } else this.#take(shared);
    try {
      return await work();
    } finally {
      if (shared) this.#sharing--;
      else this.#exclusive = false;
      this.#serve();
    }
  }

  #take(shared: boolean): void {
    if (shared) this.#sharing++;
    else this.#exclusive = true;
  }

  #serve(): void {
    for (let first = this.#waiters[0]; first; first = this.#waiters[0]) {
      if (this.#exclusive || (!first.shared && this.#sharing > 0)) return;
      this.#waiters.shift();
      this.#take(first.shared);
      first.start();
    }
  }
}
