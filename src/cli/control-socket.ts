/**
 * Where a mount's control socket is, and how it is reached.
 *
 * It lies beside the run file in the state directory: 0600 in a directory of 0700, so that only the mount's owner and root
 * can connect; the kernel checks that at each connect(2). An address holds 107 bytes, and homes may be deep: a longer path
 * is reached through /proc/self/fd, where the directory is one number.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';

/** sizeof(sun_path) less the closing NUL (unix(7)). */
const LONGEST = 107;

export interface SocketAddress {
  readonly path: string;
  /** Lets go of the directory, once the socket is bound or connected; may be called twice. */
  done(): void;
}

/** Throws what open(2) says of the directory. */
export function socketAddress(path: string): SocketAddress {
  if (Buffer.byteLength(path) <= LONGEST) return { path, done() {} };
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  let open = true;
  return {
    path: `/proc/self/fd/${directory}/${basename(path)}`,
    done() {
      if (open) closeSync(directory);
      open = false;
    },
  };
}
