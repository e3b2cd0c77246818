/** One request of the kernel while it is being answered. */
import { FsError } from '../errors.ts';
import type { RequestBuffer } from './device.ts';
import type { RequestContext } from './ops.ts';
import { HEADER, OPCODE } from './protocol.ts';
import type { DirectoryWriter, Unique } from './protocol-encode.ts';

export class Request implements RequestContext, Unique {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly opcode: number;
  readonly nodeid: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** The descriptor that it came from and must be answered on. */
  readonly channel: number;
  /** Most bytes that its answer may hold, where that is its own to say. */
  size = 0;
  /** The buffer that holds its data, pinned until it is answered. */
  buffer: RequestBuffer | undefined = undefined;
  /** Where its directory entries are collected. */
  directory: DirectoryWriter | undefined = undefined;
  /** Its operation answered by a promise. */
  waiting = false;
  #abort: AbortController | undefined = undefined;
  #interrupted = false;

  constructor(buffer: RequestBuffer, channel: number) {
    this.uniqueLow = buffer.uniqueLow;
    this.uniqueHigh = buffer.uniqueHigh;
    this.opcode = buffer.opcode;
    this.nodeid = buffer.nodeid;
    this.uid = buffer.u32(HEADER.uid);
    this.gid = buffer.u32(HEADER.gid);
    this.pid = buffer.u32(HEADER.pid);
    this.channel = channel;
  }

  /** The kernel counts requests up from 2 in steps of 2: as a number it stays exact. */
  get id(): number {
    return this.uniqueLow + this.uniqueHigh * 0x1_0000_0000;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#interrupted) this.#abort.abort(interrupted());
    }
    return this.#abort.signal;
  }

  /** The program was hit by a signal, or the mount has gone: whoever waits on behalf of this request may give up. */
  interrupt(): void {
    // What a release gives back, nobody would give back later.
    if (this.opcode === OPCODE.RELEASE || this.opcode === OPCODE.RELEASEDIR) return;
    this.#interrupted = true;
    this.#abort?.abort(interrupted());
  }
}

/** As the reason of the signal it reaches the kernel as EINTR, whichever way the operation passes it on. */
function interrupted(): FsError {
  return new FsError('EINTR', 'interrupted');
}
