/** What load programs are told and what they answer, as JSON between two processes. */

/** Bytes of a file are those of the server's generator with `seed`. */
export interface ReadFile {
  readonly path: string;
  readonly size: number;
  readonly seed: number;
}

export type LoadJob =
  /** Whole files side by side, in requests of 1 MiB. */
  | { readonly do: 'read'; readonly files: readonly ReadFile[] }
  /** `readers` at once on one descriptor, each at random offsets, for `seconds`. */
  | {
      readonly do: 'random';
      readonly file: ReadFile;
      readonly block: number;
      readonly readers: number;
      readonly seconds: number;
    }
  /** Files one after the other; `first`: only so many bytes of each. */
  | { readonly do: 'read-each'; readonly files: readonly ReadFile[]; readonly first?: number }
  /** Files side by side in writes of 1 MiB, of `written-bytes.ts`, and closed. */
  | { readonly do: 'write'; readonly paths: readonly string[]; readonly size: number }
  /** One after the other. */
  | { readonly do: 'create'; readonly paths: readonly string[]; readonly size: number }
  | { readonly do: 'stat'; readonly paths: readonly string[]; readonly size: number }
  | { readonly do: 'unlink'; readonly paths: readonly string[] }
  | { readonly do: 'append'; readonly path: string; readonly bytes: number }
  | { readonly do: 'patch'; readonly path: string; readonly offset: number; readonly bytes: number }
  | { readonly do: 'rename'; readonly from: string; readonly to: string }
  /** Another program; `output`: a file for what it says. `timesItself`: its last line is the number of seconds that count. */
  | {
      readonly do: 'run';
      readonly command: readonly string[];
      readonly output?: string;
      readonly timesItself?: boolean;
    }
  /** Until the directory is a mount point and its listing has been answered. */
  | { readonly do: 'await-mount'; readonly directory: string }
  /** Makes the tree that is copied in: keys below `directory`. */
  | {
      readonly do: 'make-files';
      readonly directory: string;
      readonly files: readonly { readonly key: string; readonly size: number; readonly seed: number }[];
    };

export interface LoadOrder {
  readonly job: LoadJob;
  /** Seconds after which it stops by itself where it can. */
  readonly limit: number;
}

export interface LoadResult {
  /** ms since the epoch. */
  readonly began: number;
  readonly seconds: number;
  /** Files, reads or operations that were finished. */
  readonly done: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  /** Reads whose bytes or sizes were not what they should be. */
  readonly wrong: number;
  /** Of the process and what it ran. */
  readonly cpuSeconds: number;
}
