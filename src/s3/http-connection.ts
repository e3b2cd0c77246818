/**
 * One HTTP/1.1 connection, one exchange at a time.
 *
 * The socket reads into buffers that this class names (`onread`): while a body with a known length comes in, those are the
 * caller's own, so that the kernel (or the TLS layer) writes a block's bytes where they shall stay. Node asks for the next
 * buffer right after it has delivered the last one; hence all that decides where bytes go happens within `#arrived`.
 *
 * Once an exchange has settled, in whatever way, neither its sink nor its body is touched again: a connection that may
 * still do so is destroyed first.
 */
import net from 'node:net';
import tls from 'node:tls';
import { ReceivedBody } from './http-body.ts';
import type { ResponseHead } from './http-message.ts';
import { ChunkedDecoder, HttpError, MAX_HEAD_BYTES, MAX_INTERIM_ANSWERS, parseResponseHead } from './http-message.ts';
import { unacknowledgedBytes } from './unacknowledged.ts';

/** Where requests go. `id` names it uniquely. */
export interface Origin {
  readonly id: string;
  readonly secure: boolean;
  /** Name or address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Times in ms. */
export interface ConnectionTimeouts {
  readonly connect: number;
  /** From the last byte sent to the first byte of the answer. */
  readonly firstByte: number;
  /** Without any byte moving, in the midst of sending or receiving. */
  readonly stall: number;
}

/** One request and what shall become of its answer. */
export interface Exchange {
  readonly method: string;
  /** Request line and headers with the empty line; Latin-1. */
  readonly head: string;
  readonly body: readonly Uint8Array[];
  /** Overrides `ConnectionTimeouts.firstByte`. */
  readonly firstByteTimeout: number | undefined;
  /**
   * Sees status and headers; returns where the body goes, or undefined to have it collected. May throw: the exchange then
   * fails with that.
   */
  answer(head: ResponseHead): readonly Uint8Array[] | undefined;
  /** `bytes` of the body have come so far. */
  progress(bytes: number): void;
  /** `body` holds what was collected; `bytes` counts those of a sink too. */
  done(head: ResponseHead, body: Uint8Array, bytes: number): void;
  failed(error: unknown): void;
}

export interface ConnectionOwner {
  /** The connection is up, or has finished an exchange: it can take one. */
  ready(connection: Connection): void;
  /** It is gone. `exchange`: what it had taken and not one byte was answered to, if it had served others before. */
  gone(connection: Connection, error: HttpError, exchange: Exchange | undefined): void;
}

export interface ConnectionOptions {
  readonly origin: Origin;
  /** IP address to connect to. */
  readonly address: string;
  readonly timeouts: ConnectionTimeouts;
  readonly secureContext?: tls.SecureContext;
  /** Of the server's certificate: that it is trusted and names the host (default), only that it is trusted, or nothing. */
  readonly check?: 'all' | 'chain' | 'none';
  /** The TLS session to resume, and where to put a new one. */
  readonly session?: Buffer;
  saveSession?(session: Buffer): void;
  /** A tunnel that is up already; else the connection is made to `address`. */
  readonly tunnel?: net.Socket;
  /** Bytes that are collected at most. */
  readonly maxCollected: number;
}

type State = 'connecting' | 'idle' | 'head' | 'body' | 'chunked' | 'until-close' | 'gone';

/** Fits an answer's head, and is what is read at a time while no sink is known. */
const SCRATCH_BYTES = 16 * 1024;
/**
 * Bytes handed to the socket at a time. Plain: a part, for each turn through Node's streams costs 100 µs, and whether it moves can be
 * seen without them (`keepsSending`). Over TLS all of it is encrypted into memory of its own at once.
 */
const SEND_BYTES = 8 * 1024 * 1024;
const SEND_BYTES_SECURE = 1024 * 1024;

const HEAD_END = Buffer.from('\r\n\r\n');

export class Connection {
  readonly address: string;
  /** When what it waits for is overdue, in ms of the pool's monotonic clock; the pool looks. */
  deadline = Number.POSITIVE_INFINITY;
  /** A byte moved since the pool looked last. */
  moved = false;
  /** Exchanges served. */
  served = 0;

  readonly #options: ConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #socket: net.Socket;
  #state: State = 'connecting';
  #exchange: Exchange | undefined;
  #head: ResponseHead | undefined;
  #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #scratchUsed = 0;
  #interim = 0;
  #answered = false;
  // What is being sent: the next slice, and whether there is more.
  #sendIndex = 0;
  #sending = false;
  /** What of the request's body had not arrived at the other side, when that was last looked at. */
  #unsent: number | undefined;
  /** Bytes of the body that the socket was given, and how many of them had arrived when that was last asked for. */
  #given = 0;
  #delivered: number | undefined;
  #body: ReceivedBody | undefined;
  /** Bytes of the body that are still to come, where its length is known. */
  #left = 0;
  #decoder: ChunkedDecoder | undefined;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    this.#options = options;
    this.#owner = owner;
    this.address = options.address;
    this.#socket = this.#open();
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  get connecting(): boolean {
    return this.#state === 'connecting';
  }

  /** How long, in ms, it may take until the next byte moves, as things stand. */
  get patience(): number {
    switch (this.#state) {
      case 'connecting':
        return this.#options.timeouts.connect;
      case 'head':
        if (this.#sending) return this.#options.timeouts.stall;
        return this.#exchange?.firstByteTimeout ?? this.#options.timeouts.firstByte;
      default:
        return this.#options.timeouts.stall;
    }
  }

  /** Takes an exchange; only when idle. */
  start(exchange: Exchange): void {
    this.#exchange = exchange;
    this.#head = undefined;
    this.#state = 'head';
    this.#scratchUsed = 0;
    this.#interim = 0;
    this.#answered = false;
    this.#unsent = undefined;
    this.#given = 0;
    this.#delivered = undefined;
    this.moved = true;
    if (exchange.body.length === 0) {
      this.#socket.write(exchange.head, 'latin1');
      return;
    }
    this.#sending = true;
    this.#sendIndex = 0;
    this.#socket.cork();
    this.#socket.write(exchange.head, 'latin1');
    this.#send(exchange);
    this.#socket.uncork();
  }

  /** Ends it: what it was doing fails with `error`. */
  destroy(error: HttpError): void {
    this.#fail(error);
  }

  /** Half of the patience is over: notes how much of the request is still on its way. */
  watchSending(): void {
    if (this.#isUploading) this.#unsent ??= this.#onItsWay();
  }

  /** Nothing moved that can be seen here: true if the request's body goes on arriving at the other side all the same. */
  keepsSending(): boolean {
    const before = this.#unsent;
    if (!this.#isUploading || before === undefined) return false;
    this.#unsent = this.#onItsWay();
    return this.#unsent !== undefined && this.#unsent < before;
  }

  /** True if more of the request's body has arrived at the other side since this was asked last. */
  sentMore(): boolean {
    const onItsWay = this.#isUploading ? this.#onItsWay() : undefined;
    if (onItsWay === undefined) return false;
    const before = this.#delivered;
    this.#delivered = this.#given - onItsWay;
    return before !== undefined && this.#delivered > before;
  }

  get #isUploading(): boolean {
    return this.#state === 'head' && !this.#answered && (this.#exchange?.body.length ?? 0) > 0;
  }

  /** Bytes that Node has not handed to the kernel, and those that the kernel keeps until they are acknowledged. */
  #onItsWay(): number | undefined {
    const { localPort, remotePort } = this.#socket;
    if (localPort === undefined || remotePort === undefined) return undefined;
    const { writeQueueSize = 0 } = (this.#socket as { _handle?: { writeQueueSize?: number } })._handle ?? {};
    // Where the kernel does not tell, Node's own queue does, as long as there is one.
    return (unacknowledgedBytes(localPort, remotePort) ?? 0) + writeQueueSize;
  }

  /** What is overdue, as an error. */
  overdue(): HttpError {
    const { timeouts, origin } = this.#options;
    if (this.#state === 'connecting') {
      return new HttpError('connect-timeout', `no connection to ${origin.host} in ${timeouts.connect} ms`, false);
    }
    if (this.#state === 'head' && !this.#sending) {
      return new HttpError('first-byte-timeout', `no answer from ${origin.host} in ${this.patience} ms`, true);
    }
    return new HttpError('stall', `no byte from or to ${origin.host} in ${timeouts.stall} ms`, true);
  }

  #open(): net.Socket {
    const { origin, address, tunnel, session, secureContext, check = 'all' } = this.#options;
    const onread = {
      buffer: () => this.#nextBuffer(),
      callback: (bytes: number) => this.#arrived(bytes),
    };
    const where = { host: address, port: origin.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 };
    let socket: net.Socket;
    if (origin.secure) {
      const secured = tls.connect({
        ...(tunnel ? { socket: tunnel } : { ...where, onread: onread as net.OnReadOpts }),
        ...(net.isIP(origin.host) ? {} : { servername: origin.host }),
        // The certificate is checked against the name asked for, also where that is an address.
        checkServerIdentity: (_name, certificate) =>
          check === 'all' ? tls.checkServerIdentity(origin.host, certificate) : undefined,
        rejectUnauthorized: check !== 'none',
        ALPNProtocols: ['http/1.1'],
        ...(secureContext ? { secureContext } : {}),
        ...(session ? { session } : {}),
      });
      secured.on('session', fresh => this.#options.saveSession?.(fresh));
      secured.once('secureConnect', () => this.#connected());
      if (tunnel) this.#readByEvents(secured);
      socket = secured;
    } else if (tunnel) {
      socket = tunnel;
      this.#readByEvents(tunnel);
      setImmediate(() => this.#connected());
    } else {
      socket = net.connect({ ...where, onread: onread as net.OnReadOpts });
      socket.once('connect', () => this.#connected());
    }
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(this.#socketError(error)));
    const closed = (): void => this.#closed();
    socket.on('end', closed);
    socket.on('close', closed);
    return socket;
  }

  /** Node takes `onread` only where it makes the socket itself: over a tunnel the bytes are copied. */
  #readByEvents(socket: net.Socket): void {
    socket.on('data', (bytes: Buffer) => {
      for (let at = 0; at < bytes.length && this.#state !== 'gone'; ) {
        const target = this.#nextBuffer();
        const size = Math.min(target.length, bytes.length - at);
        target.set(bytes.subarray(at, at + size));
        at += size;
        this.#arrived(size);
      }
    });
  }

  #connected(): void {
    if (this.#state !== 'connecting') return;
    // Said here as well as above: a TLS socket does not take it from its options.
    this.#socket.setNoDelay(true);
    this.#state = 'idle';
    this.#owner.ready(this);
  }

  #closed(): void {
    if (this.#state === 'gone') return;
    if (this.#state === 'until-close' && this.#exchange) {
      this.#finish(false);
      return;
    }
    const { host } = this.#options.origin;
    if (this.#state === 'connecting') {
      this.#fail(new HttpError('connect', `${host} closed the connection at once`, false));
    } else {
      this.#fail(new HttpError('reset', `${host} closed the connection`, this.#exchange !== undefined));
    }
  }

  #socketError(error: NodeJS.ErrnoException): HttpError {
    const { host, port } = this.#options.origin;
    const code = error.code ?? '';
    if (this.#state === 'connecting') {
      const network = /^E(CONN|NET|HOST|TIMEDOUT|ADDR|PIPE|ACCES|MFILE|NFILE)/.test(code);
      if (this.#options.origin.secure && !network) {
        return new HttpError('tls', `no TLS with ${host}:${port}: ${error.message}`, false, error);
      }
      return new HttpError('connect', `no connection to ${host}:${port} (${code || error.message})`, false, error);
    }
    return new HttpError('reset', `the connection to ${host} broke (${code || error.message})`, true, error);
  }

  #fail(error: unknown): void {
    if (this.#state === 'gone') return;
    const exchange = this.#exchange;
    // A connection that had rested may have been closed by the server in the meantime: that is nobody's failure yet.
    const stale = this.served > 0 && !this.#answered && error instanceof HttpError && error.code === 'reset';
    this.#state = 'gone';
    this.#forget();
    this.#socket.destroy();
    const seen =
      error instanceof HttpError ? error : new HttpError('bad-answer', 'the answer was refused', true, error);
    this.#owner.gone(this, seen, exchange && stale ? exchange : undefined);
    if (exchange && !stale) exchange.failed(error);
  }

  /** Hands the next slices to the socket, in one system call where they are small. */
  #send(exchange: Exchange): void {
    const { body } = exchange;
    const most = this.#options.origin.secure ? SEND_BYTES_SECURE : SEND_BYTES;
    let bytes = 0;
    let first = this.#sendIndex;
    let end = first;
    while (end < body.length && (bytes === 0 || bytes + body[end]!.length <= most)) bytes += body[end++]!.length;
    this.#sendIndex = end;
    this.#given += bytes;
    this.#socket.cork();
    while (first < end - 1) this.#socket.write(body[first++]!);
    this.#socket.write(body[first]!, () => {
      if (this.#exchange !== exchange || this.#state === 'gone') return;
      this.moved = true;
      this.#unsent = undefined;
      // An answer that came already is a refusal: the rest is not sent.
      if (this.#answered) return;
      if (this.#sendIndex < body.length) this.#send(exchange);
      else this.#sending = false;
    });
    this.#socket.uncork();
  }

  /** Where the socket shall read next. */
  #nextBuffer(): Uint8Array {
    if (this.#state === 'body') return this.#body!.room(this.#left);
    return this.#scratchUsed === 0 ? this.#scratch : this.#scratch.subarray(this.#scratchUsed);
  }

  /** `bytes` have come into the buffer named last. */
  #arrived(bytes: number): boolean {
    this.moved = true;
    try {
      switch (this.#state) {
        case 'body':
          this.#filled(bytes);
          break;
        case 'head':
          this.#headBytes(bytes);
          break;
        case 'chunked':
        case 'until-close':
          this.#framedBytes(this.#scratch.subarray(0, bytes));
          break;
        case 'gone':
          return false;
        default:
          throw new HttpError('bad-answer', 'bytes came that nobody had asked for', false);
      }
    } catch (error) {
      this.#fail(error);
      return false;
    }
    return true;
  }

  #headBytes(bytes: number): void {
    this.#answered = true;
    const from = Math.max(0, this.#scratchUsed - 3);
    this.#scratchUsed += bytes;
    for (;;) {
      const end = this.#scratch.subarray(0, this.#scratchUsed).indexOf(HEAD_END, from);
      if (end < 0) {
        this.#growScratch();
        return;
      }
      const exchange = this.#exchange!;
      const head = parseResponseHead(this.#scratch.toString('latin1', 0, end), exchange.method);
      const rest = end + HEAD_END.length;
      if (head.status >= 200) {
        this.#begin(exchange, head, this.#scratch.subarray(rest, this.#scratchUsed));
        return;
      }
      this.#interim++;
      if (this.#interim > MAX_INTERIM_ANSWERS || head.status === 101) {
        throw new HttpError('bad-answer', `the server answered ${head.status}`, true);
      }
      this.#scratch.copyWithin(0, rest, this.#scratchUsed);
      this.#scratchUsed -= rest;
      if (this.#scratchUsed === 0) return;
    }
  }

  #growScratch(): void {
    if (this.#scratchUsed < this.#scratch.length) return;
    if (this.#scratch.length >= MAX_HEAD_BYTES) {
      throw new HttpError('bad-answer', `the answer's headers exceed ${MAX_HEAD_BYTES} bytes`, true);
    }
    const larger = Buffer.allocUnsafeSlow(MAX_HEAD_BYTES);
    larger.set(this.#scratch);
    this.#scratch = larger;
  }

  /** The head is known, and `early` bytes of the body came along. */
  #begin(exchange: Exchange, head: ResponseHead, early: Uint8Array): void {
    const { framing } = head;
    this.#head = head;
    this.#scratchUsed = 0;
    const body = new ReceivedBody(exchange.answer(head), framing, this.#options.maxCollected);
    this.#body = body;
    if (typeof framing === 'number') {
      this.#left = framing;
      this.#state = 'body';
      if (early.length > 0) {
        const mine = early.length > framing ? early.subarray(0, framing) : early;
        body.take(mine);
        this.#left -= mine.length;
        exchange.progress(body.bytes);
      }
      // More than was announced: what comes next on this connection cannot be told from it.
      if (this.#left === 0 && this.#exchange) this.#finish(early.length <= framing);
      return;
    }
    this.#decoder = framing === 'chunked' ? new ChunkedDecoder() : undefined;
    this.#state = framing === 'chunked' ? 'chunked' : 'until-close';
    if (early.length > 0) this.#framedBytes(early);
  }

  /** The socket has put `bytes` where the body goes. */
  #filled(bytes: number): void {
    const body = this.#body!;
    body.filled(bytes);
    this.#left -= bytes;
    this.#exchange!.progress(body.bytes);
    // Whoever is told of progress may have had enough: then the exchange is over.
    if (this.#left === 0 && this.#exchange) this.#finish(true);
  }

  /** Bytes of a body whose length is not known beforehand. */
  #framedBytes(bytes: Uint8Array): void {
    const body = this.#body!;
    const decoder = this.#decoder;
    let used = bytes.length;
    if (decoder) used = decoder.push(bytes, data => body.take(data));
    else body.take(bytes);
    this.#exchange!.progress(body.bytes);
    if (decoder?.done && this.#exchange) this.#finish(used === bytes.length);
  }

  #finish(clean: boolean): void {
    const exchange = this.#exchange!;
    const head = this.#head!;
    const body = this.#body!;
    const reusable = clean && head.keepAlive && !this.#sending;
    this.#forget();
    this.#sending = false;
    this.served++;
    if (reusable) {
      this.#state = 'idle';
      this.#owner.ready(this);
    } else {
      this.#fail(new HttpError('reset', 'the connection is not used again', false));
    }
    exchange.done(head, body.collected(), body.bytes);
  }

  /** Neither the exchange nor its buffers are touched from here on. */
  #forget(): void {
    this.#exchange = undefined;
    this.#head = undefined;
    this.#body = undefined;
    this.#decoder = undefined;
  }
}
