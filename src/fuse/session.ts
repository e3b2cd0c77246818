/**
 * One connection to the kernel: INIT, dispatch, answers now or later, interrupts, failures.
 *
 * An operation that answers at once is answered before the next request is read. One that answers by a promise is kept in
 * `#pending` by its number, so that an INTERRUPT finds it.
 */
import { type Clock, systemClock } from '../concurrency.ts';
import { ERRNO, toFsError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Device, RequestBuffer } from './device.ts';
import { type Negotiated, negotiate } from './negotiation.ts';
import { type Exchange, OPERATIONS, type Send } from './operations.ts';
import type { Awaitable, FileSystemOps } from './ops.ts';
import { wantsInterrupt } from './pending-signals.ts';
import { IN, MAX_IO, OPCODE, opcodeName } from './protocol.ts';
import type { RequestReader } from './protocol-decode.ts';
import { DirectoryWriter, type ReplyWriter } from './protocol-encode.ts';
import { Request } from './request.ts';

/** readdir(3) of glibc asks for 32 KiB; larger ones are rare, and kept as well once they came. */
const DIRECTORY_CAPACITY = 64 * 1024;
const IDLE_DIRECTORY_WRITERS = 8;

/** No answer is awaited to these; one would confuse the kernel. */
const UNANSWERED: ReadonlySet<number> = new Set([
  OPCODE.FORGET,
  OPCODE.BATCH_FORGET,
  OPCODE.INTERRUPT,
  OPCODE.NOTIFY_REPLY,
]);

export interface SessionOptions {
  readonly telemetry: Telemetry;
  readonly posixAcl: boolean;
  /** An operation failed with what is neither `FsError` nor `StoreError`; its caller has got EIO. */
  readonly onBug?: ((error: unknown) => void) | undefined;
  readonly clock?: Clock;
  /** Whether the signal that a thread has got is to end what it waits for; default: as /proc tells. */
  readonly wantsInterrupt?: (thread: number) => boolean;
}

/** ms after which it is looked again whether a program that got a harmless signal has got another one. */
const LOOK_AGAIN = 250;

export class Session implements Exchange {
  readonly ops: FileSystemOps;
  readonly reply: ReplyWriter;
  /** Resolves when INIT was answered; to `undefined` if the kernel's protocol is too old. */
  readonly negotiated: Promise<Negotiated | undefined>;
  readonly #device: Device;
  readonly #options: SessionOptions;
  readonly #pending = new Map<number, Request>();
  readonly #directoryWriters: DirectoryWriter[] = [];
  #resolveNegotiated!: (negotiated: Negotiated | undefined) => void;
  #masksModes = false;
  #handling: RequestBuffer | undefined;

  constructor(device: Device, ops: FileSystemOps, options: SessionOptions) {
    this.#device = device;
    this.ops = ops;
    this.reply = device.reply;
    this.#options = options;
    this.negotiated = new Promise(resolve => {
      this.#resolveNegotiated = resolve;
    });
  }

  get masksModes(): boolean {
    return this.#masksModes;
  }

  get crowded(): boolean {
    return this.#device.crowded;
  }

  /** Requests that wait for their operation. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Handles the request in `buffer`, read from `channel`; returns whether it is answered. Never throws. */
  handle(buffer: RequestBuffer, channel: number): boolean {
    const request = new Request(buffer, channel);
    this.#handling = buffer;
    try {
      const operation = OPERATIONS[request.opcode];
      if (operation === undefined) this.sendErrno(request, ERRNO.ENOSYS);
      else if (!buffer.complete) this.malformed(request);
      else operation(this, buffer, request);
    } catch (error) {
      this.#settle(request, error);
    }
    return !request.waiting;
  }

  /** The connection has ended: nobody waits for an answer any more. */
  end(): void {
    for (const request of this.#pending.values()) request.interrupt();
    this.#resolveNegotiated(undefined);
  }

  answer<T>(request: Request, result: Awaitable<T>, send: Send<T>): void {
    if (!(result instanceof Promise)) {
      send(this, request, result);
      if (request.directory !== undefined) this.#finish(request);
      return;
    }
    request.waiting = true;
    this.#pending.set(request.id, request);
    result.then(
      value => {
        this.#pending.delete(request.id);
        try {
          send(this, request, value);
          this.#finish(request);
        } catch (error) {
          this.#settle(request, error);
        }
      },
      (error: unknown) => {
        this.#pending.delete(request.id);
        this.#settle(request, error);
      },
    );
  }

  send(request: Request, length: number): boolean {
    const errno = this.#device.send(request.channel, length);
    return errno === 0 || this.#notSent(request, errno);
  }

  sendBytes(request: Request, slices: readonly Uint8Array[], total: number): boolean {
    this.reply.header(request, total);
    const errno = this.#device.sendSlices(request.channel, slices, total);
    return errno === 0 || this.#notSent(request, errno);
  }

  sendErrno(request: Request, errno: number): void {
    if (!UNANSWERED.has(request.opcode)) this.send(request, this.reply.error(request, errno));
  }

  malformed(request: Request): void {
    this.#options.telemetry.count('fuse.malformed');
    this.sendErrno(request, ERRNO.EINVAL);
  }

  keepBuffer(request: Request): void {
    const buffer = this.#handling!;
    request.buffer = buffer;
    this.#device.pin(buffer);
  }

  directoryWriter(size: number): DirectoryWriter {
    const idle = this.#directoryWriters.pop();
    if (idle && idle.capacity >= size) return idle;
    return new DirectoryWriter(Math.max(DIRECTORY_CAPACITY, (Math.min(size, MAX_IO) + 7) & ~7));
  }

  releaseUnanswered(request: Request, nodeid: number, fh: number, directory: boolean): void {
    const released = async (): Promise<void> =>
      directory ? this.ops.releasedir(nodeid, fh, request) : this.ops.release(nodeid, fh, request);
    released().catch((error: unknown) => {
      if (toFsError(error) === undefined) this.#bug(request, error);
    });
  }

  interrupt(request: Request, target: number): void {
    const pending = this.#pending.get(target);
    if (pending) {
      const { wantsInterrupt: isMeant = wantsInterrupt, clock = systemClock } = this.#options;
      if (isMeant(pending.pid)) pending.interrupt();
      // The kernel tells of the first signal only, unless it is asked to say so again.
      else clock.after(LOOK_AGAIN, () => this.#tellAgain(request, target));
      return;
    }
    // Not here yet, or answered already. "Try again" makes the kernel send the interrupt once more if its request still
    // waits, and it looks for that request among those read from the descriptor of this answer.
    this.#device.send(this.#device.parkedChannel, this.reply.error(request, ERRNO.EAGAIN));
  }

  #tellAgain(request: Request, target: number): void {
    const pending = this.#pending.get(target);
    if (pending) this.#device.send(pending.channel, this.reply.error(request, ERRNO.EAGAIN));
  }

  init(buffer: RequestReader, request: Request): void {
    const at = IN.INIT;
    const negotiated = negotiate(
      {
        major: buffer.u32(at.major),
        minor: buffer.u32(at.minor),
        flags: buffer.u32(at.flags),
        flags2: buffer.length >= at.flags2 + 4 ? buffer.u32(at.flags2) : 0,
      },
      this.#options,
    );
    if (negotiated === undefined) {
      // EPROTO; not an errno that a filesystem answers with.
      this.sendErrno(request, 71);
    } else {
      this.#masksModes = negotiated.flags.has('DONT_MASK');
      this.send(request, this.reply.init(request, negotiated.reply));
      // A kernel with a newer major says INIT again, in ours.
      if (buffer.u32(at.major) > negotiated.reply.major) return;
    }
    this.#resolveNegotiated(negotiated);
  }

  /** Answers a failure. */
  #settle(request: Request, error: unknown): void {
    const known = toFsError(error);
    if (known === undefined) this.#bug(request, error);
    this.sendErrno(request, known === undefined ? ERRNO.EIO : ERRNO[known.code]);
    this.#finish(request);
  }

  /** Gives back what the request held. */
  #finish(request: Request): void {
    if (request.buffer !== undefined) {
      this.#device.unpin(request.buffer);
      request.buffer = undefined;
    }
    const { directory } = request;
    if (directory !== undefined) {
      request.directory = undefined;
      // Entries that reached nobody: an operation that failed halfway, or an answer that came too late.
      for (const nodeid of directory.lookedUp) this.ops.forget(nodeid, 1);
      directory.lookedUp.length = 0;
      if (this.#directoryWriters.length < IDLE_DIRECTORY_WRITERS) this.#directoryWriters.push(directory);
    }
  }

  #notSent(request: Request, errno: number): false {
    // ENOENT: the request was interrupted and is gone. ENODEV: so is the mount.
    if (errno !== ERRNO.ENOENT && errno !== ERRNO.ENODEV) {
      this.#options.telemetry.log.error(
        { op: opcodeName(request.opcode), nodeid: request.nodeid, errno },
        'the kernel refused an answer; its caller gets EIO',
      );
      this.#device.send(request.channel, this.reply.error(request, ERRNO.EIO));
    }
    return false;
  }

  #bug(request: Request, error: unknown): void {
    const { telemetry, onBug } = this.#options;
    telemetry.count('fuse.bug');
    telemetry.log.error(
      {
        op: opcodeName(request.opcode),
        nodeid: request.nodeid,
        stack: error instanceof Error ? error.stack : String(error),
      },
      'an operation failed in a way that it must not; this is a bug',
    );
    onBug?.(error);
  }
}
