/** Lives of a daemon with `journal=` that follow each other, on one disk and one bucket. */
import type { SpoolOptions } from '../../src/cache/spool.ts';
import { UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import { LossyDisk } from './lossy-disk.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryStore } from './memory-store.ts';
import { mountUnsaved, type UnsavedFileSystem } from './unsaved.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = { ...UPLOAD_SIZES, part: 128 * KIB, singlePut: 200 * KIB };

export class World {
  readonly clock = new ManualClock();
  readonly store = new MemoryStore({ clock: this.clock, limits: { minPartSize: 128 * KIB } });
  disk = new LossyDisk();
  #end = (): void => {};

  async mount(
    limit?: number,
    budget = 2 * MIB,
    more: { readonly writeBack?: boolean; readonly isLogged?: boolean; readonly spool?: SpoolOptions } = {},
  ): Promise<UnsavedFileSystem> {
    const { clock, store, disk } = this;
    const life = { isOver: false };
    this.#end = store.intercept((_call, proceed) => (life.isOver ? new Promise(() => {}) : proceed()));
    this.#kill = () => {
      life.isOver = true;
    };
    return mountUnsaved({
      clock,
      store,
      disk,
      sizes: SIZES,
      writeBack: false,
      budget,
      ...more,
      ...(limit && { limit }),
    });
  }

  #kill = (): void => {};

  /** The daemon is gone, with all but the disk. */
  async kill(): Promise<void> {
    this.#kill();
    this.disk.before = () => new Promise(() => {});
    this.disk = this.disk.now();
    await this.clock.advance(10);
    this.#end();
  }

  async until<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    for (let step = 0; !isOver && step < 5000; step++) await this.clock.advance(50);
    return work;
  }
}
