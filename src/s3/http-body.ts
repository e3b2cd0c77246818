/** Where the body of one answer goes: into buffers of the caller's, or into memory of its own up to a limit. */
import type { BodyFraming } from './http-message.ts';
import { HttpError } from './http-message.ts';

const NO_BYTES = new Uint8Array(0);

/**
 * Of buffers that lie side by side, what is read at once: each read costs a turn of Node's streams, 15 µs for 128 KiB that are copied in
 * 30. libuv reads up to 32 times before it looks at other descriptors; what a socket holds (6 MiB) bounds that anyway.
 */
const READ_BYTES = 512 * 1024;

function tooLong(limit: number): HttpError {
  return new HttpError('bad-answer', `the answer is longer than ${limit} bytes`, true);
}

export class ReceivedBody {
  /** Bytes so far. */
  bytes = 0;
  readonly #targets: readonly Uint8Array[];
  readonly #limit: number;
  /** The body was not wanted anywhere: it is handed over by `collected`. */
  readonly #own: boolean;
  /** What has come of a body of unknown length. */
  readonly #pieces: Uint8Array[] | undefined;
  #target = 0;
  #at = 0;

  /** `limit`: bytes that are collected at most. Throws `HttpError` if there is no room for the body. */
  constructor(wanted: readonly Uint8Array[] | undefined, framing: BodyFraming, limit: number) {
    this.#limit = limit;
    this.#own = wanted === undefined;
    if (wanted) {
      this.#targets = wanted;
      if (typeof framing === 'number') this.#checkRoom(framing);
    } else if (typeof framing === 'number') {
      if (framing > limit) throw tooLong(limit);
      this.#targets = framing === 0 ? [] : [Buffer.allocUnsafeSlow(framing)];
    } else {
      this.#targets = [];
      this.#pieces = [];
    }
    this.#skipFull();
  }

  /** Where the socket may put what comes next, `left` bytes at most. */
  room(left: number): Uint8Array {
    const target = this.#targets[this.#target]!;
    const most = Math.min(left, READ_BYTES);
    let free = target.length - this.#at;
    let end = target.byteOffset + target.length;
    for (let i = this.#target + 1; free < most; i++) {
      const next = this.#targets[i];
      if (next?.buffer !== target.buffer || next.byteOffset !== end) break;
      free += next.length;
      end += next.length;
    }
    if (this.#at === 0 && free === target.length && free <= left) return target;
    return new Uint8Array(target.buffer, target.byteOffset + this.#at, Math.min(free, most));
  }

  /** The socket has put `bytes` there. */
  filled(bytes: number): void {
    this.#at += bytes;
    this.bytes += bytes;
    for (let length = this.#targets[this.#target]?.length ?? 0; this.#at > length; ) {
      this.#at -= length;
      length = this.#targets[++this.#target]!.length;
    }
    this.#skipFull();
  }

  /** Takes what came along with the head, or out of a coding. Throws `HttpError` if it is too much. */
  take(data: Uint8Array): void {
    if (this.#pieces) {
      this.bytes += data.length;
      if (this.bytes > this.#limit) throw tooLong(this.#limit);
      // A copy: `slice` of a Buffer would be a view of what the next read overwrites.
      this.#pieces.push(Buffer.from(data));
      return;
    }
    for (let from = 0; from < data.length; ) {
      const target = this.#targets[this.#target];
      if (!target) throw new HttpError('bad-answer', 'the answer is longer than what was asked for', true);
      const size = Math.min(target.length - this.#at, data.length - from);
      target.set(data.subarray(from, from + size), this.#at);
      from += size;
      this.filled(size);
    }
  }

  /** The body, if it was wanted nowhere else. */
  collected(): Uint8Array {
    if (this.#pieces) return this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    return this.#own ? (this.#targets[0] ?? NO_BYTES) : NO_BYTES;
  }

  /** A body longer than its buffers is not the one that was asked for. */
  #checkRoom(bytes: number): void {
    let room = 0;
    for (const target of this.#targets) room += target.length;
    if (room < bytes) throw new HttpError('bad-answer', `the answer has ${bytes} bytes, not ${room}`, true);
  }

  /** Empty buffers are passed over: nothing can be read into them. */
  #skipFull(): void {
    while (this.#target < this.#targets.length && this.#at === this.#targets[this.#target]!.length) {
      this.#target++;
      this.#at = 0;
    }
  }
}
