/**
 * The transport: requests out of /dev/fuse, answers back into it. Knows lengths and descriptors, not what they mean.
 *
 * 1. Node's loop does not wait for /dev/fuse by itself. libuv, under it, does (`loop-watch.ts`): the descriptor does not
 *    block, and when it can be read the loop empties it by direct system calls. Where that cannot be had, one `fs.read` is
 *    parked in the thread pool; its return wakes the loop, which then empties a second, non-blocking descriptor of the same
 *    connection and parks the next read when nothing is left, and still nothing after one turn of the loop: answers that
 *    needed no more than that (a promise, a byte on a socket) bring the next request. Either way that is, under load, one
 *    system call for each request and one for its answer.
 * 2. A request is answered on the descriptor that it was read from (`channel`): on the other one the kernel does not find
 *    it, and its caller would wait for ever.
 * 3. A buffer whose bytes an operation still uses (the data of a WRITE that is answered later) must not be read into. It is
 *    pinned, and another takes its place.
 */
import type { Buffer } from 'node:buffer';
import fs from 'node:fs';
import { ERRNO } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type Libc, O_CLOEXEC, O_NONBLOCK, O_RDWR } from './libc.ts';
import type { Unwatch } from './loop-watch.ts';
import type { SessionEnd } from './ops.ts';
import { OUT_HEADER_SIZE, REQUEST_CAPACITY } from './protocol.ts';
import { RequestReader } from './protocol-decode.ts';
import { ReplyWriter } from './protocol-encode.ts';

/** The connection was cut by /sys/fs/fuse/connections/N/abort. Not an errno that a filesystem answers with. */
const ECONNABORTED = 103;

/** "Until nothing is left" starves sockets and timers under a load of cache hits: their turn comes after so many requests. */
const REQUESTS_PER_TURN = 64;

/**
 * How long, in ms, the next request is looked for again and again before the loop goes to sleep. A program that reads
 * in small steps sends its next request some microseconds after the answer; to sleep and wake up takes longer (one reader
 * of 4 KiB from memory: 95 thousand reads a second instead of 10 by way of the pool).
 */
const SPIN_TIME = 0.05;

/** Times that it sleeps without looking again after looking was in vain: doubles up to this. */
const MOST_SKIPPED = 8;

/** Up to here copying behind the header (200 ns) is cheaper than a gathering write with addresses looked up. */
const COPY_LIMIT = 16 * 1024;

/** An answer that is not made of slices is at most an xattr: 64 KiB. */
const REPLY_CAPACITY = 64 * 1024 + 4096;

/** Buffers kept for reuse; a burst of more goes back to the garbage collector. */
const IDLE_BUFFERS = 8;

/**
 * With so many buffers pinned, small writes are copied out instead: each pins a whole buffer of 1 MiB for its few bytes.
 */
const PINNED_BUFFERS = 16;

/** More slices than the kernel takes in one writev (IOV_MAX is 1024) are joined first. */
const MOST_SLICES = 1000;

/** One buffer and the request in it. */
export class RequestBuffer extends RequestReader {
  readonly memory: ArrayBuffer;
  readonly address: number;
  pinned = false;

  constructor(memory: ArrayBuffer, address: number) {
    super(memory);
    this.memory = memory;
    this.address = address;
  }
}

/** What a session needs of the device; tests give their own. */
export interface Device {
  /** Where the next answer is written before `send` or `sendSlices`. */
  readonly reply: ReplyWriter;
  /** Sends the first `length` bytes of `reply`; returns 0 or an errno. */
  send(channel: number, length: number): number;
  /** Sends the header in `reply` (16 bytes, for `total` bytes of payload) and `slices`; returns 0 or an errno. */
  sendSlices(channel: number, slices: readonly Uint8Array[], total: number): number;
  /** Keeps the buffer being handled from being read into, until `unpin`. */
  pin(buffer: RequestBuffer): void;
  unpin(buffer: RequestBuffer): void;
  /** So many buffers are pinned that small data should be copied out. */
  readonly crowded: boolean;
  /** Writes an unasked message from the thread pool; resolves when the kernel took or refused it. */
  notify(message: Buffer): Promise<void>;
  /** Where to answer an interrupt whose request has not been read yet: the parked read has it. */
  readonly parkedChannel: number;
}

export type RequestHandler = (buffer: RequestBuffer, channel: number) => void;

/** Decides whether to look again: as long as it pays, and seldom when it does not, so that a slow load costs no CPU. */
class Spin {
  #skip = 0;
  #penalty = 0;

  worthwhile(): boolean {
    if (this.#skip === 0) return true;
    this.#skip--;
    return false;
  }

  paid(): void {
    this.#penalty = 0;
  }

  failed(): void {
    this.#penalty = Math.min(this.#penalty === 0 ? 1 : this.#penalty * 2, MOST_SKIPPED);
    this.#skip = this.#penalty;
  }
}

export class FuseDevice implements Device {
  readonly reply = new ReplyWriter(REPLY_CAPACITY);
  readonly #fd: number;
  readonly #libc: Libc | undefined;
  readonly #log: Log;
  /** The non-blocking descriptor; -1 without koffi or where the kernel refused to clone. */
  #drained = -1;
  #unwatch: Unwatch | undefined;
  /** The loop will look whether there are requests, in this turn or the next. */
  #isDue = false;
  readonly #replyAddress: number;
  readonly #vectors = new Uint32Array(new ArrayBuffer((MOST_SLICES + 1) * 16));
  readonly #vectorsAddress: number;
  #current: RequestBuffer;
  readonly #idle: RequestBuffer[] = [];
  #pinned = 0;
  readonly #spin = new Spin();
  /** Answers sent. */
  #answers = 0;
  #handler: RequestHandler = () => {};
  #ended = false;
  #resolveEnded!: (end: SessionEnd) => void;
  #notifying: Promise<void> = Promise.resolve();
  readonly ended: Promise<SessionEnd>;

  /** `fd` is a descriptor of /dev/fuse that is mounted already; the device closes it when the connection ends. */
  constructor(fd: number, libc: Libc | undefined, log: Log) {
    this.#fd = fd;
    this.#libc = libc;
    this.#log = log;
    this.#replyAddress = libc?.addressOf(this.reply.memory) ?? 0;
    this.#vectorsAddress = libc?.addressOf(this.#vectors.buffer) ?? 0;
    this.#current = this.#newBuffer();
    this.ended = new Promise(resolve => {
      this.#resolveEnded = resolve;
    });
  }

  start(handler: RequestHandler): void {
    this.#handler = handler;
    this.#unwatch = this.#libc?.watchReadable?.(this.#fd, () => this.#drainSoon());
    if (this.#unwatch) this.#drained = this.#fd;
    else if (this.#libc) this.#drained = this.#clone(this.#libc);
    this.#park();
  }

  #drainSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(this.#drain);
  }

  get parkedChannel(): number {
    return this.#fd;
  }

  get crowded(): boolean {
    return this.#pinned >= PINNED_BUFFERS;
  }

  pin(buffer: RequestBuffer): void {
    buffer.pinned = true;
    this.#pinned++;
  }

  unpin(buffer: RequestBuffer): void {
    buffer.pinned = false;
    this.#pinned--;
    // Still the current one: it was answered before its handler returned.
    if (buffer !== this.#current && this.#idle.length < IDLE_BUFFERS) this.#idle.push(buffer);
  }

  send(channel: number, length: number): number {
    // A closed descriptor's number may be somebody else's file by now.
    if (this.#ended) return ERRNO.ENODEV;
    this.#answers++;
    const libc = this.#libc;
    if (libc) return libc.write(channel, this.#replyAddress, length) < 0 ? libc.errno() : 0;
    return errnoOf(() => fs.writeSync(channel, this.reply.bytes, 0, length));
  }

  sendSlices(channel: number, slices: readonly Uint8Array[], total: number): number {
    if (this.#ended) return ERRNO.ENODEV;
    if (total <= COPY_LIMIT) {
      let at = OUT_HEADER_SIZE;
      for (const slice of slices) {
        this.reply.bytes.set(slice, at);
        at += slice.length;
      }
      return this.send(channel, OUT_HEADER_SIZE + total);
    }
    this.#answers++;
    const libc = this.#libc;
    const gathered = slices.length > MOST_SLICES ? [joined(slices, total)] : slices;
    if (!libc) {
      const header = this.reply.bytes.subarray(0, OUT_HEADER_SIZE);
      return errnoOf(() => fs.writevSync(channel, [header, ...gathered]));
    }
    this.#vector(0, this.#replyAddress, OUT_HEADER_SIZE);
    for (let i = 0; i < gathered.length; i++) {
      const slice = gathered[i]!;
      // Asking for `buffer` moves a small array off V8's heap, so that its address holds.
      this.#vector(i + 1, libc.addressOf(slice.buffer) + slice.byteOffset, slice.length);
    }
    return libc.writev(channel, this.#vectorsAddress, gathered.length + 1) < 0 ? libc.errno() : 0;
  }

  /**
   * One at a time, and never by the loop's own thread: the kernel takes locks for it that the callers of unanswered
   * requests hold, and only this loop answers them.
   */
  notify(message: Buffer): Promise<void> {
    if (this.#ended) return Promise.resolve();
    const written = this.#notifying.then(
      () =>
        new Promise<void>(resolve => {
          if (this.#ended) resolve();
          // ENOENT is the usual answer: the kernel does not know the inode or the entry any more.
          else fs.write(this.#fd, message, 0, message.length, null, () => resolve());
        }),
    );
    this.#notifying = written;
    return written;
  }

  #vector(index: number, address: number, length: number): void {
    const at = index * 4;
    this.#vectors[at] = address;
    this.#vectors[at + 1] = Math.floor(address / 0x1_0000_0000);
    this.#vectors[at + 2] = length;
    this.#vectors[at + 3] = 0;
  }

  #newBuffer(): RequestBuffer {
    const memory = new ArrayBuffer(REQUEST_CAPACITY);
    return new RequestBuffer(memory, this.#libc?.addressOf(memory) ?? 0);
  }

  #clone(libc: Libc): number {
    const fd = libc.open('/dev/fuse', O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || libc.cloneFuseDevice(fd, this.#fd) !== 0) {
      // An ordinary user may be given a mounted descriptor and yet not be allowed to open the device.
      this.#log.debug(
        { errno: libc.errno() },
        'no second descriptor of /dev/fuse: each request passes the thread pool',
      );
      if (fd >= 0) libc.close(fd);
      return -1;
    }
    return fd;
  }

  /** Goes to sleep until the next request comes. */
  #park(): void {
    // The loop wakes up by itself.
    if (this.#unwatch) return;
    fs.read(this.#fd, this.#current.bytes, 0, REQUEST_CAPACITY, null, this.#woken);
  }

  readonly #woken = (error: NodeJS.ErrnoException | null, length: number): void => {
    if (error) {
      this.#readFailed(-(error.errno ?? 0));
      if (!this.#ended) this.#park();
      return;
    }
    const answers = this.#answers;
    this.#deliver(length, this.#fd);
    if (this.#drained < 0) this.#park();
    else this.#drainSince(answers, false);
  };

  readonly #drain = (): void => {
    this.#isDue = false;
    if (!this.#ended) this.#drainSince(this.#answers, false);
  };

  /** Reads and delivers what has come; `answers`: sent before the request that was delivered last. */
  #drainSince(answers: number, afterTurn: boolean): void {
    const libc = this.#libc!;
    let before = answers;
    let hasTurned = afterTurn;
    let idleSince = 0;
    for (let requests = 0; requests < REQUESTS_PER_TURN; ) {
      const length = libc.read(this.#drained, this.#current.address, REQUEST_CAPACITY);
      if (length >= 0) {
        if (idleSince > 0) this.#spin.paid();
        idleSince = 0;
        before = this.#answers;
        hasTurned = false;
        this.#deliver(length, this.#drained);
        requests++;
        continue;
      }
      const errno = libc.errno();
      if (errno !== ERRNO.EAGAIN) {
        this.#readFailed(errno);
        if (this.#ended) return;
        requests++;
        continue;
      }
      if (idleSince === 0) {
        if (this.#answers === before) {
          // An answer that is still to come needs the loop's turn more than the next request does.
          if (hasTurned || this.#unwatch) this.#park();
          else setImmediate(() => this.#drainSince(before, true));
          return;
        }
        if (this.#spin.worthwhile()) {
          idleSince = performance.now();
          continue;
        }
      } else if (performance.now() - idleSince < SPIN_TIME) continue;
      else this.#spin.failed();
      this.#park();
      return;
    }
    this.#drainSoon();
  }

  #deliver(length: number, channel: number): void {
    const buffer = this.#current;
    if (!buffer.begin(length)) {
      this.#log.error({ length }, 'the kernel sent a request without a valid header; it cannot be answered');
      return;
    }
    this.#handler(buffer, channel);
    if (buffer.pinned) this.#current = this.#idle.pop() ?? this.#newBuffer();
  }

  #readFailed(errno: number): void {
    // ENOENT: the request was taken back while it was being read.
    if (errno === ERRNO.EINTR || errno === ERRNO.ENOENT || errno === ERRNO.EAGAIN) return;
    if (errno !== ERRNO.ENODEV && errno !== ECONNABORTED) {
      this.#log.error({ errno }, 'reading /dev/fuse failed; the mount ends');
    }
    this.#end(errno === ERRNO.ENODEV ? 'unmounted' : 'aborted');
  }

  /** Only called when no read is parked: both come out of reads. */
  #end(end: SessionEnd): void {
    this.#ended = true;
    this.#unwatch?.();
    const close = (): void => {
      fs.close(this.#fd, () => {});
      if (this.#drained >= 0 && this.#drained !== this.#fd) fs.close(this.#drained, () => {});
    };
    void this.#notifying.then(close);
    this.#resolveEnded(end);
  }
}

function errnoOf(write: () => unknown): number {
  try {
    write();
    return 0;
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    return -errno;
  }
}

function joined(slices: readonly Uint8Array[], total: number): Uint8Array {
  const whole = new Uint8Array(total);
  let at = 0;
  for (const slice of slices) {
    whole.set(slice, at);
    at += slice.length;
  }
  return whole;
}
