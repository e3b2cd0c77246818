/**
 * Bytes that this machine has sent and the other side has not acknowledged.
 *
 * When a body has been handed to the kernel it may be on its way for a long time: over a slow uplink that many parts share, a
 * megabyte takes minutes, and nothing here moves. `/proc/net/tcp` tells whether it goes on (proc(5), `tx_queue`).
 */
import { readFileSync } from 'node:fs';

/** Undefined where it cannot be told: no such connection, or a system without that file. */
export function unacknowledgedBytes(localPort: number, remotePort: number, files = FILES): number | undefined {
  const ends = new RegExp(
    `^\\s*\\d+: [0-9A-F]+:${hex(localPort)} [0-9A-F]+:${hex(remotePort)} 0[1-9A-F] ([0-9A-F]+):`,
    'm',
  );
  for (const file of files) {
    const queued = ends.exec(read(file))?.[1];
    if (queued !== undefined) return Number.parseInt(queued, 16);
  }
  return undefined;
}

const FILES: readonly string[] = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
