/**
 * What the daemon tells the service manager that started it: sd_notify(3)'s protocol, datagrams of `NAME=VALUE` lines.
 *
 * Written over koffi: Node has no Unix datagram sockets. Nothing waits for the manager and nothing fails for its sake.
 */
import { Buffer } from 'node:buffer';
import { type Clock, systemClock } from '../concurrency.ts';
import { DRAIN_LIMIT } from './lifecycle.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** A manager that does not read costs a message, never a wait. */
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** sizeof(sockaddr_un.sun_path), unix(7). */
const PATH_LIMIT = 108;

/** ms between two looks at how stopping gets on. */
const LOOK_EVERY = 5_000;
/**
 * ms that are asked for where something moved. The manager kills when they are over: not before a drain that stands still has been
 * given up, and what it had has been written to the local disk.
 */
const EXTEND_BY = 2 * DRAIN_LIMIT;
const MORE_TIME = `EXTEND_TIMEOUT_USEC=${EXTEND_BY * 1000}`;

export interface ServiceNotify {
  /** READY=1: the mount answers. */
  ready(status: string): void;
  status(text: string): void;
  /** STOPPING=1; from here on what is left is told, and more time asked for, as long as that gets on. */
  stopping(drain: DrainProgress): void;
}

export interface DrainProgress {
  left(): UnsavedAmount;
  /** Grows while saves get on. What is left shrinks by whole saves only, and one may take hours. */
  answered(): number;
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
  return send === undefined ? SILENT : new ServiceMessages(send, systemClock);
}

/** Text for one line of a message. */
export function statusOfDrain({ bytes, files }: UnsavedAmount): string {
  if (files === 0) return 'Everything is saved; unmounting';
  const amount = bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${bytes} bytes`;
  return `Saving: ${amount} in ${files} ${files === 1 ? 'file' : 'files'} left`;
}

export class ServiceMessages implements ServiceNotify {
  readonly #send: (message: string) => void;
  readonly #clock: Clock;
  #isStopping = false;

  constructor(send: (message: string) => void, clock: Clock) {
    this.#send = send;
    this.#clock = clock;
  }

  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`);
  }

  status(text: string): void {
    this.#send(`STATUS=${text}`);
  }

  stopping(drain: DrainProgress): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const left = drain.left();
    this.#send(`STOPPING=1\nSTATUS=${statusOfDrain(left)}\n${MORE_TIME}`);
    this.#watch(drain, left, drain.answered());
  }

  #watch(drain: DrainProgress, before: UnsavedAmount, answeredBefore: number): void {
    this.#clock.after(LOOK_EVERY, () => {
      const now = drain.left();
      const answered = drain.answered();
      const moved = now.bytes < before.bytes || now.files < before.files || answered !== answeredBefore;
      // Without progress the manager's own limit holds: a dead network must not keep a machine from going down.
      this.#send(`STATUS=${statusOfDrain(now)}${moved ? `\n${MORE_TIME}` : ''}`);
      this.#watch(drain, now, answered);
    });
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
