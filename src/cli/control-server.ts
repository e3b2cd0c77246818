/**
 * Serves a mount's control socket. Nothing that comes in may disturb the mount: lines are bounded, connections are few,
 * whoever is silent is cut off, and what goes wrong in an answer is told to who asked and to the log.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { FsError, StoreError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { BadRequest, type ControlReply, type ControlRequest, MAX_REQUEST, parseRequest } from './control-protocol.ts';
import { socketAddress } from './control-socket.ts';
import { CliError, EXIT } from './exit-codes.ts';

/** People and their watches; a loop that has gone wild waits in connect(2). */
const MAX_CONNECTIONS = 16;
/** ms for a request to come in: it is one short line from this machine. */
const REQUEST_LIMIT = 5_000;
/** Bytes that may wait for somebody who does not read: progress beyond it is left out. */
const MAX_WAITING = 64 * 1024;

/** What is asked for → what is answered. `progress` tells how far it is; `signal` aborts when the asker has gone. */
export type ControlAnswers = {
  readonly [K in ControlRequest['do']]: (
    request: Extract<ControlRequest, { readonly do: K }>,
    progress: (value: unknown) => void,
    signal: AbortSignal,
  ) => unknown;
};

export class ControlServer {
  readonly #path: string;
  readonly #server: Server;
  readonly #answers: ControlAnswers;
  readonly #log: Log;
  readonly #requestLimit: number;

  private constructor(path: string, answers: ControlAnswers, log: Log, requestLimit: number) {
    this.#path = path;
    this.#answers = answers;
    this.#log = log;
    this.#requestLimit = requestLimit;
    this.#server = createServer({ pauseOnConnect: false }, socket => this.#serve(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** `path` lies in a directory that is closed to others. Rejects where the socket cannot be made. */
  static async listen(
    path: string,
    answers: ControlAnswers,
    log: Log,
    requestLimit = REQUEST_LIMIT,
  ): Promise<ControlServer> {
    const control = new ControlServer(path, answers, log, requestLimit);
    // Left behind by a daemon that was killed: two do not serve one mount point.
    rmSync(path, { force: true });
    const address = socketAddress(path);
    try {
      await new Promise<void>((resolve, reject) => {
        control.#server.once('error', reject);
        control.#server.listen(address.path, resolve);
      });
      chmodSync(path, 0o600);
    } finally {
      address.done();
    }
    control.#server.on('error', error => log.warn({ err: error }, 'the control socket failed'));
    return control;
  }

  /** Nobody is answered any more, and the socket is gone. */
  close(): void {
    this.#server.close();
    rmSync(this.#path, { force: true });
  }

  #serve(socket: Socket): void {
    let received = '';
    const gone = new AbortController();
    socket.setEncoding('utf8');
    socket.setTimeout(this.#requestLimit, () => this.#end(socket, failure('no request came.')));
    // A connection that breaks is the asker's business.
    socket.on('error', () => {});
    socket.on('close', () => gone.abort());
    const take = (text: string): void => {
      received += text;
      const end = received.indexOf('\n');
      if (end < 0 && received.length < MAX_REQUEST) return;
      socket.removeListener('data', take);
      // Read on and thrown away: the end of the connection is noticed only by reading.
      socket.resume();
      socket.setTimeout(0);
      if (end < 0) this.#end(socket, failure('the request is too long.'));
      else void this.#answer(socket, received.slice(0, end), gone.signal);
    };
    socket.on('data', take);
  }

  async #answer(socket: Socket, line: string, signal: AbortSignal): Promise<void> {
    const progress = (value: unknown): void => {
      if (!socket.writable || socket.writableLength > MAX_WAITING) return;
      socket.write(`${JSON.stringify({ progress: value } satisfies ControlReply)}\n`);
    };
    try {
      const request = parseRequest(line);
      const answer = this.#answers[request.do] as (
        request: ControlRequest,
        progress: (value: unknown) => void,
        signal: AbortSignal,
      ) => unknown;
      this.#end(socket, { result: (await answer(request, progress, signal)) ?? null });
    } catch (error) {
      this.#end(socket, this.#failure(error));
    }
  }

  #failure(error: unknown): ControlReply {
    if (error instanceof BadRequest) return failure(error.message);
    if (error instanceof CliError) return { error: { message: error.message, exitCode: error.exitCode } };
    if (error instanceof FsError || error instanceof StoreError) {
      return { error: { message: `${error.message}.`.replace(/\.\.$/, '.'), exitCode: EXIT.network } };
    }
    this.#log.error({ err: error }, 'a command could not be answered; this is a bug');
    return { error: { message: 'the daemon failed to answer; its log says more.', exitCode: EXIT.bug } };
  }

  #end(socket: Socket, reply: ControlReply): void {
    if (socket.writable) socket.end(`${JSON.stringify(reply)}\n`);
    else socket.destroy();
    // Who does not take the answer does not keep the connection.
    socket.setTimeout(this.#requestLimit, () => socket.destroy());
  }
}

function failure(message: string): ControlReply {
  return { error: { message, exitCode: EXIT.usage } };
}
