/**
 * Names that look the same and are not: Hangul and accents as a Mac writes them (NFD, letters taken apart) and as everybody
 * else does (NFC). To S3 and to this mount they are two keys. Whoever asks for the one where only the other exists sees
 * "no such file" beside a listing that shows it: the log tells why.
 */
import type { Telemetry } from '../telemetry.ts';
import type { DirectoryInode } from './inode.ts';

/** Of how many directories the log tells before it says no more. */
const MAX_HINTS = 20;

// Names of ASCII only have one form.
const ASCII = /^[\x00-\x7f]*$/;

export class NormalizationHints {
  readonly #telemetry: Telemetry;
  /** Keys of directories of which it was told. */
  readonly #told = new Set<string>();

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  /** `name` was looked up in `directory` and is not there. Asks nobody: only what is known of the directory counts. */
  missed(directory: DirectoryInode, name: string): void {
    if (ASCII.test(name) || this.#told.size >= MAX_HINTS || this.#told.has(directory.key)) return;
    for (const form of ['NFC', 'NFD'] as const) {
      const other = name.normalize(form);
      if (other === name || !(directory.children.has(other) || directory.listing?.names.has(other))) continue;
      this.#told.add(directory.key);
      this.#telemetry.log.warn(
        { directory: directory.key, name, form },
        `somebody asked for a name that is there in another Unicode normalization (${form}): to S3 they are two names; rename it, or ask for it as it is listed`,
      );
      return;
    }
  }
}
