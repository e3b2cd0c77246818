/** A daemon that dies at one of its calls, through the door to S3 or to the disk of the journal. */
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** What a path may hold; undefined: nothing. */
export type States = readonly (string | undefined)[];

/** Parts of a block each: small, for there are hundreds of deaths. */
const LIMITS = { minPartSize: 128 * 1024 };

/** Of 50 ms: what takes longer waits for something that will not come. */
const MAX_STEPS = 4000;

export type When = 'before' | 'after';

export interface Death {
  /** Number of the call at which the daemon dies; the last ones die never. */
  readonly at: number;
  readonly when: When;
  readonly power?: number;
}

export class World {
  readonly clock = new ManualClock();
  readonly store = new MemoryStore({ clock: this.clock, latency: 5, limits: LIMITS });
  readonly death: Death;
  readonly died: Promise<'died'>;
  calls = 0;
  readonly names: string[] = [];
  isDead = false;
  #die!: () => void;

  constructor(death: Death) {
    this.death = death;
    this.died = new Promise(resolve => {
      this.#die = () => {
        this.isDead = true;
        resolve('died');
      };
    });
  }

  /** Runs one call of the daemon; a dead one asks for nothing, and hears of nothing any more. */
  async call<T>(name: string, work: () => Promise<T>): Promise<T> {
    const never = new Promise<T>(() => {});
    if (this.isDead) return never;
    this.names.push(name);
    const isLast = this.calls++ === this.death.at;
    if (isLast && this.death.when === 'before') {
      this.#die();
      return never;
    }
    const result = await work();
    if (isLast) this.#die();
    return this.isDead ? never : result;
  }

  /** Lets time pass until `work` has settled or the daemon is dead. */
  async until<T>(work: Promise<T>): Promise<T | 'died'> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    const first = Promise.race([work, this.died]);
    first.then(over, over);
    for (let step = 0; !isOver; step++) {
      if (step === MAX_STEPS) throw new Error(`${work} has not ended after ${this.names.length} calls`);
      await this.clock.advance(50);
    }
    return first;
  }
}

export function shown(state: string | undefined): string {
  if (state === undefined) return 'not there';
  return state.length > 20 ? `${state.length} bytes` : `"${state}"`;
}
