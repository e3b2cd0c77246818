/**
 * Programs that index whole disks, kept out: a nightly updatedb would list a bucket of millions, and with `stat=exact` send a
 * HEAD for each object. They are known by the name of their process and refused where they open a directory; what a person
 * starts (find, du, a file manager) is never refused.
 */
import { FsError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { callerOf, PerThread } from './processes.ts';

/**
 * /proc/PID/comm, which has 15 bytes. updatedb and its variants of mlocate and plocate (`updatedb.plocate`); baloo of KDE
 * (`baloo_file`, `baloo_file_extractor`); tracker of GNOME (`tracker-miner-fs-3`, `tracker-extract-3`), which is called
 * localsearch since GNOME 47.
 */
const INDEXER = /^(?:updatedb(?:\.|$)|baloo_file|tracker-(?:miner|extract|store)|localsearch(?:-|$))/;

export class Indexers {
  readonly #environment: Pick<Environment, 'options' | 'telemetry'>;
  /** A walk opens thousands of directories a second. */
  readonly #names: PerThread<string>;
  readonly #told = new Set<string>();

  constructor(
    environment: Pick<Environment, 'options' | 'telemetry' | 'clock'>,
    nameOf: (thread: number) => string = thread => callerOf(thread)?.command ?? '',
  ) {
    this.#environment = environment;
    this.#names = new PerThread(nameOf, () => environment.clock.monotonic());
  }

  /** Throws EACCES where `thread`, which wants to list a directory, is of an indexer. The first one is logged. */
  check(thread: number): void {
    const { options, telemetry } = this.#environment;
    if (options.indexers !== 'refuse' || thread <= 0) return;
    const name = this.#names.of(thread);
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
}
