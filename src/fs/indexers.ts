/**
 * Programs that index whole disks, kept out: a nightly updatedb would list a bucket of millions, and with `stat=exact` send a
 * HEAD for each object. They are known by the name of their process and refused where they open a directory; what a person
 * starts (find, du, a file manager) is never refused.
 */
import { readFileSync } from 'node:fs';
import { FsError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { processOf } from './processes.ts';

/**
 * /proc/PID/comm, which has 15 bytes. updatedb and its variants of mlocate and plocate (`updatedb.plocate`); baloo of KDE
 * (`baloo_file`, `baloo_file_extractor`); tracker of GNOME (`tracker-miner-fs-3`, `tracker-extract-3`), which is called
 * localsearch since GNOME 47.
 */
const INDEXER = /^(?:updatedb(?:\.|$)|baloo_file|tracker-(?:miner|extract|store)|localsearch(?:-|$))/;

/** ms for which a thread's name is not asked for again: a walk opens thousands of directories a second. */
const NAME_HOLDS = 1_000;
/** Threads remembered. */
const MAX_NAMES = 256;

export class Indexers {
  readonly #environment: Pick<Environment, 'options' | 'telemetry' | 'clock'>;
  readonly #nameOf: (thread: number) => string;
  readonly #names = new Map<number, { readonly name: string; readonly at: number }>();
  readonly #told = new Set<string>();

  constructor(
    environment: Pick<Environment, 'options' | 'telemetry' | 'clock'>,
    nameOf: (thread: number) => string = commandOf,
  ) {
    this.#environment = environment;
    this.#nameOf = nameOf;
  }

  /** Throws EACCES where `thread`, which wants to list a directory, is of an indexer. The first one is logged. */
  check(thread: number): void {
    const { options, telemetry } = this.#environment;
    if (options.indexers !== 'refuse' || thread <= 0) return;
    const name = this.#name(thread);
    if (!INDEXER.test(name)) return;
    if (!this.#told.has(name)) {
      this.#told.add(name);
      telemetry.log.info(
        { command: name },
        `${name} is kept from indexing the bucket, which would list all of it; indexers=allow lets it`,
      );
    }
    throw new FsError('EACCES', `${name} may not list the bucket: indexers=allow lets it`);
  }

  #name(thread: number): string {
    const now = this.#environment.clock.monotonic();
    const known = this.#names.get(thread);
    if (known !== undefined && now - known.at < NAME_HOLDS) return known.name;
    const name = this.#nameOf(thread);
    this.#names.delete(thread);
    this.#names.set(thread, { name, at: now });
    if (this.#names.size > MAX_NAMES) this.#names.delete(this.#names.keys().next().value!);
    return name;
  }
}

/** Of the process, not the thread: threads of a pool are named for the pool. Empty where it cannot be told. */
function commandOf(thread: number): string {
  try {
    return readFileSync(`/proc/${processOf(thread) ?? thread}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
