/** Asks the daemon of a mount, over its control socket. */
import { connect } from 'node:net';
import { type ControlRequest, parseReply } from './control-protocol.ts';
import { socketAddress } from './control-socket.ts';
import { CliError, EXIT } from './exit-codes.ts';

/** Bytes of one line of an answer: a status of 100 files and processes has a tenth. */
const MAX_LINE = 1024 * 1024;

export interface AskOptions {
  /** ms without a word until the daemon is given up; none where the work itself may take long. */
  readonly silence?: number;
  readonly progress?: (value: unknown) => void;
}

/** No daemon answers at that socket: killed, of an older version, or it hangs. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/**
 * Resolves to the result. Rejects with `CliError` where the daemon says what is wrong, with `NoAnswer` where there is none.
 */
export function askDaemon(path: string, request: ControlRequest, options: AskOptions = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let address: ReturnType<typeof socketAddress>;
    try {
      address = socketAddress(path);
    } catch (error) {
      reject(new NoAnswer((error as Error).message));
      return;
    }
    const socket = connect(address.path);
    let received = '';
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.once('connect', () => {
      address.done();
      socket.write(`${JSON.stringify(request)}\n`);
    });
    socket.once('error', error => {
      address.done();
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EACCES' || code === 'EPERM') {
        fail(new CliError(EXIT.usage, 'this mount belongs to another user; try it with sudo.'));
      } else fail(new NoAnswer(error.message));
    });
    socket.once('close', () => reject(new NoAnswer('the daemon closed the connection')));
    if (options.silence !== undefined) {
      socket.setTimeout(options.silence, () => fail(new NoAnswer(`no answer within ${options.silence} ms`)));
    }
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
      for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
        const line = received.slice(0, end);
        received = received.slice(end + 1);
        try {
          const reply = parseReply(line);
          if ('progress' in reply) options.progress?.(reply.progress);
          else if ('error' in reply) fail(new CliError(reply.error.exitCode, reply.error.message));
          else {
            resolve(reply.result);
            socket.destroy();
          }
        } catch (error) {
          fail(new NoAnswer(`it does not speak as a daemon of s3mount: ${(error as Error).message}`));
        }
      }
      if (received.length > MAX_LINE) fail(new NoAnswer('its answer has no end'));
    });
  });
}
