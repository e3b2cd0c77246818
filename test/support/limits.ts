/**
 * How long a test waits for what must come. These tell what hangs from what is slow, and judge nothing else: on a machine
 * with others on it, or one that stands still for seconds, all takes several times as long as usual.
 */

/** As `npm test` has it. By a name that the compiler does not follow: the scripts are no TypeScript. */
const { fileLimit } = (await import('../../scripts/requirements.mjs' as string)) as { readonly fileLimit: number };

/** ms for a file of tests; a script that is started without tap's runner has 30 s otherwise. */
export const FILE_LIMIT = fileLimit * 1000;

/** Seconds after which a test on a mount has hung: early enough for its file to tell of it. */
export const HUNG = fileLimit - 60;

/** ms for one program; half of a file's, so that the file can say which one it was. */
export const PROGRAM_LIMIT = FILE_LIMIT / 2;

/** ms for a server or a mount to answer for the first time: a few seconds on a busy machine. */
export const START_LIMIT = 120_000;

/** ms for what no event tells, asked again and again: the same as for what starts. */
export const EVENTUALLY = START_LIMIT;
