/**
 * What the daemon tells the service manager that started it: sd_notify(3)'s protocol, datagrams of `NAME=VALUE` lines.
 *
 * Written over koffi: Node has no Unix datagram sockets. Nothing waits for the manager and nothing fails for its sake.
 */
import { Buffer } from 'node:buffer';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** A manager that does not read costs a message, never a wait. */
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** sizeof(sockaddr_un.sun_path), unix(7). */
const PATH_LIMIT = 108;

/** ms between two extensions of the time to stop, and the time that each asks for: six missed ones are an end. */
const EXTEND_EVERY = 5_000;
const EXTEND_BY = 30_000;

export interface ServiceNotify {
  /** READY=1: the mount answers. */
  ready(status: string): void;
  status(text: string): void;
  /** STOPPING=1; from here on `left` is told, and more time asked for, as long as it gets smaller. */
  stopping(left: () => UnsavedAmount): void;
}

export interface UnsavedAmount {
  readonly bytes: number;
  readonly files: number;
}

const SILENT: ServiceNotify = { ready: () => {}, status: () => {}, stopping: () => {} };

/** `address` as systemd gives it in NOTIFY_SOCKET: a path, or `@name` of an abstract socket; `undefined`: nobody listens. */
export async function openServiceNotify(address: string | undefined): Promise<ServiceNotify> {
  if (address === undefined || !/^[/@]/.test(address)) return SILENT;
  const send = await datagramSocket(address).catch(() => undefined);
  return send === undefined ? SILENT : new NotifySocket(send);
}

/** Text for one line of a message. */
export function statusOfDrain({ bytes, files }: UnsavedAmount): string {
  if (files === 0) return 'Everything is saved; unmounting';
  const amount = bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${bytes} bytes`;
  return `Saving: ${amount} in ${files} ${files === 1 ? 'file' : 'files'} left`;
}

class NotifySocket implements ServiceNotify {
  readonly #send: (message: string) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(send: (message: string) => void) {
    this.#send = send;
  }

  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`);
  }

  status(text: string): void {
    this.#send(`STATUS=${text}`);
  }

  stopping(left: () => UnsavedAmount): void {
    if (this.#timer !== undefined) return;
    let before = left();
    this.#send(`STOPPING=1\nSTATUS=${statusOfDrain(before)}\nEXTEND_TIMEOUT_USEC=${EXTEND_BY * 1000}`);
    this.#timer = setInterval(() => {
      const now = left();
      const moved = now.bytes < before.bytes || now.files < before.files;
      before = now;
      // Without progress the manager's own limit holds: a dead network must not keep a machine from going down.
      const extension = moved ? `\nEXTEND_TIMEOUT_USEC=${EXTEND_BY * 1000}` : '';
      this.#send(`STATUS=${statusOfDrain(now)}${extension}`);
    }, EXTEND_EVERY);
    this.#timer.unref();
  }
}

/** struct sockaddr_un, and how many bytes of it count. */
export function socketAddress(address: string): Uint8Array<ArrayBuffer> {
  const abstract = address.startsWith('@');
  const path = Buffer.from(abstract ? `\0${address.slice(1)}` : address);
  if (path.length >= PATH_LIMIT) throw new Error('the address of the notify socket is too long');
  const memory = new Uint8Array(new ArrayBuffer(2 + path.length + (abstract ? 0 : 1)));
  new DataView(memory.buffer).setUint16(0, AF_UNIX, true);
  memory.set(path, 2);
  return memory;
}

async function datagramSocket(address: string): Promise<((message: string) => void) | undefined> {
  const { default: koffi } = await import('koffi');
  const self = koffi.load(null);
  const socket = self.func('socket', 'int', ['int', 'int', 'int']);
  const sendto = self.func('sendto', 'long', ['int', 'uint8_t *', 'size_t', 'int', 'uint8_t *', 'uint32_t']);
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return undefined;
  const target = socketAddress(address);
  return message => {
    const bytes = Buffer.from(message);
    sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, target, target.length);
  };
}
