/**
 * Keeps what is in the daemon's memory out of core dumps: credentials, and other people's files.
 *
 * By the filter of what a dump contains, which also holds where the kernel hands the dump to a program (systemd-coredump,
 * apport), as a limit on its size does not. Not by PR_SET_DUMPABLE: it gives /proc/PID to root, so that a user's own
 * `s3mount status`, and a debugger of theirs, would be locked out; and who is this user may read the same keys elsewhere.
 */
import { writeFileSync } from 'node:fs';

/** No mapping of any kind (core(5)); what is left are registers. */
const NOTHING = '0x0';

/** False where the kernel has no such filter, or /proc is not to be written. */
export function keepMemoryOutOfDumps(path = '/proc/self/coredump_filter'): boolean {
  try {
    writeFileSync(path, NOTHING);
    return true;
  } catch {
    return false;
  }
}
