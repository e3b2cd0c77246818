/**
 * From the moment the mount answers to the process's end: who may end it, in what order, and with which exit code.
 *
 * Orders to stop (SIGINT, SIGTERM) save first and unmount then; an unmount from outside has already happened when we hear
 * of it, so then only what is left is saved. A second order to stop does not wait. Whatever could not be saved is named.
 */
import type { Mounted } from '../fuse/ops.ts';
import type { Log } from '../telemetry.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { type Holder, holdersText } from './holders.ts';

/** What a filesystem still owes to the store. */
export interface Unsaved {
  readonly bytes: number;
  /** Paths relative to the mount point. */
  readonly names: readonly string[];
  /** How many of them are in the journal, and where that lies: the next mount saves them. */
  readonly journal?: { readonly names: number; readonly path: string };
}

/** The filesystem, as far as its end goes. */
export interface Drainable {
  /** Saves all that is unsaved, while the mount goes on answering. Resolves also if some of it could not be saved. */
  drain(): Promise<void>;
  /** The session has ended: saves what is left, and lets go of everything. Never rejects for what it could not save. */
  destroy(): Promise<void>;
  unsaved(): Unsaved;
  /** Writes what could not be saved to files below `directory`; returns their paths. */
  recover(directory: string): Promise<readonly string[]>;
}

export interface LifecycleParts {
  readonly mounted: Pick<Mounted, 'unmount' | 'ended'>;
  readonly filesystem: Drainable;
  readonly log: Log;
  readonly mountPoint: string;
  readonly findHolders: (mountPoint: string) => Promise<readonly Holder[]>;
  /** A line to whoever waits: stderr in the foreground. */
  readonly say: (line: string) => void;
  /** Where bytes go that the store would not take. Made only when needed; throws if it cannot be made. */
  readonly recoveryDirectory: () => string;
  /** Resolves after `ms`. */
  readonly pause: (ms: number) => Promise<void>;
  /** By which a drain that gets no further is told from a long one. Absent: it is waited for. */
  readonly drains?: {
    /** Requests to S3 that went well so far. */
    answered(): number;
    /** Resolves after `ms`. */
    every(ms: number): Promise<void>;
  };
}

export interface Ending {
  readonly exitCode: ExitCode;
  /** One sentence where the end was not good. */
  readonly message?: string;
}

/**
 * ms that processes which stood in the mount get after a lazy detach before the daemon leaves: enough to finish a call
 * that is under way, short for somebody who pressed Ctrl-C.
 */
const HOLDERS_LIMIT = 1_000;

/**
 * ms without a good answer from S3, or bytes that arrive there (`sending-progress.ts`), after which a drain is given up: its bytes go to the local disk. As long as a request is tried
 * again, and half of what service managers wait before they kill.
 */
export const DRAIN_LIMIT = 60_000;
/** ms between two looks. */
const LOOK = 1_000;

export class Lifecycle {
  readonly #parts: LifecycleParts;
  #stopping = false;
  /** S3 was waited for long enough. */
  #givenUp = false;
  #stop!: (reason: string) => void;
  #force!: () => void;
  readonly #stopAsked: Promise<string>;
  readonly #forced: Promise<'forced'>;

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.#stopAsked = new Promise(resolve => {
      this.#stop = resolve;
    });
    this.#forced = new Promise(resolve => {
      this.#force = () => resolve('forced');
    });
  }

  /** An order to stop, such as a signal; the second one no longer waits. */
  stop(reason: string): void {
    if (this.#stopping) this.#force();
    this.#stopping = true;
    this.#stop(reason);
  }

  /** Resolves once, when nothing is left to do but to exit. */
  async run(): Promise<Ending> {
    const { mounted, log } = this.#parts;
    const first = await Promise.race([
      mounted.ended.then(end => ({ end })),
      this.#stopAsked.then(reason => ({ reason })),
    ]);
    if ('end' in first) log.info({ end: first.end }, 'unmounted from outside; saving what is left');
    else log.info({ reason: first.reason }, 'stopping: saving what is unsaved');
    const orderly = 'end' in first ? this.#settle() : this.#leave();
    const outcome = await Promise.race([orderly, this.#forced]);
    return outcome === 'forced' ? this.#leaveAtOnce() : await this.#ending();
  }

  /** Saves, then unmounts. */
  async #leave(): Promise<void> {
    await this.#drain();
    await this.#detach();
    await this.#settle();
  }

  async #drain(): Promise<void> {
    const { filesystem, log } = this.#parts;
    const { bytes, names } = filesystem.unsaved();
    if (names.length > 0) log.info({ bytes, files: names.length }, 'saving');
    try {
      await this.#whileItGetsOn(filesystem.drain());
    } catch (error) {
      log.error({ err: error }, 'saving failed');
    }
  }

  /** Resolves with `work`, or when nothing has got on for too long. Rejects as `work`. */
  async #whileItGetsOn(work: Promise<void>): Promise<void> {
    const { drains, log } = this.#parts;
    if (!drains || this.#givenUp) {
      if (this.#givenUp) work.catch(() => {});
      else await work;
      return;
    }
    const settled = work.then(() => true);
    let before = drains.answered();
    for (let silent = LOOK; silent <= DRAIN_LIMIT; silent += LOOK) {
      if (await Promise.race([settled, drains.every(LOOK).then(() => false)])) return;
      const now = drains.answered();
      if (now !== before) silent = 0;
      before = now;
    }
    settled.catch(() => {});
    this.#givenUp = true;
    log.error({ seconds: DRAIN_LIMIT / 1000 }, 'S3 does not answer: what is unsaved goes to the local disk');
  }

  async #detach(): Promise<void> {
    const { mounted, mountPoint, log, say, pause, findHolders } = this.#parts;
    try {
      await mounted.unmount();
    } catch {
      // Busy. The holders are looked up first: after a detach their links no longer show the mount point.
      const line = `${mountPoint} was detached while in use: ${holdersText(await findHolders(mountPoint))}.`;
      try {
        await mounted.unmount({ lazy: true });
        log.warn({}, line);
        say(line);
      } catch (error) {
        log.error({ err: error }, 'the mount could not be detached');
        say(`${mountPoint} could not be unmounted: ${(error as Error).message}`);
      }
      await Promise.race([mounted.ended, pause(HOLDERS_LIMIT)]);
      return;
    }
    await Promise.race([mounted.ended, pause(HOLDERS_LIMIT)]);
  }

  async #settle(): Promise<void> {
    try {
      await this.#whileItGetsOn(this.#parts.filesystem.destroy());
    } catch (error) {
      this.#parts.log.error({ err: error }, 'saving failed at the end');
    }
  }

  async #leaveAtOnce(): Promise<Ending> {
    const { mounted, log, pause } = this.#parts;
    log.warn({}, 'told twice to stop: leaving without waiting');
    await Promise.race([mounted.unmount({ lazy: true }).catch(() => {}), pause(HOLDERS_LIMIT)]);
    return this.#ending();
  }

  async #ending(): Promise<Ending> {
    const { filesystem, mountPoint, log } = this.#parts;
    const { bytes, names, journal } = filesystem.unsaved();
    if (names.length === 0) {
      log.info({}, 'unmounted, everything is saved');
      return { exitCode: EXIT.ok };
    }
    const shown = names
      .slice(0, 5)
      .map(name => `'${name}'`)
      .join(', ');
    const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
    const recovered = names.length === journal?.names ? '' : await this.#recovered();
    const next = journal
      ? `; the next mount of this bucket saves ${journal.names} of them from the journal in ${journal.path}`
      : '';
    const message = `${mountPoint} ended with ${bytes} unsaved bytes in ${shown}${more}${recovered}${next}.`;
    log.error({ bytes, names }, message);
    return { exitCode: EXIT.unsaved, message };
  }

  async #recovered(): Promise<string> {
    const { filesystem, log, recoveryDirectory } = this.#parts;
    try {
      const directory = recoveryDirectory();
      const paths = await filesystem.recover(directory);
      return paths.length === 0 ? '; they could not be kept' : `; they were kept in ${directory}`;
    } catch (error) {
      log.error({ err: error }, 'unsaved bytes could not be kept');
      return '; they could not be kept';
    }
  }
}
