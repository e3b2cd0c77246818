/** A kernel made of bytes: builds requests, hands them to a session, keeps its answers. */
import type { Device, RequestBuffer } from '../../src/fuse/device.ts';
import { RequestBuffer as Buffered } from '../../src/fuse/device.ts';
import { IN_HEADER_SIZE, OUT_HEADER_SIZE } from '../../src/fuse/protocol.ts';
import { ReplyWriter } from '../../src/fuse/protocol-encode.ts';

export interface Answer {
  readonly channel: number;
  /** As a positive number; 0 is success. */
  readonly errno: number;
  readonly unique: bigint;
  readonly payload: Buffer;
}

export class FakeDevice implements Device {
  readonly reply = new ReplyWriter(64 * 1024 + 4096);
  readonly answers: Answer[] = [];
  readonly notifications: Buffer[] = [];
  readonly parkedChannel = 100;
  crowded = false;
  pinned = 0;
  /** What the next sends return. */
  refuse = 0;

  send(channel: number, length: number): number {
    return this.#take(channel, Buffer.from(this.reply.bytes.subarray(0, length)));
  }

  sendSlices(channel: number, slices: readonly Uint8Array[], total: number): number {
    const header = this.reply.bytes.subarray(0, OUT_HEADER_SIZE);
    const whole = Buffer.concat([header, ...slices]);
    if (whole.length !== OUT_HEADER_SIZE + total) throw new Error('the total is not that of the slices');
    return this.#take(channel, whole);
  }

  #take(channel: number, message: Buffer): number {
    if (message.readUInt32LE(0) !== message.length) throw new Error('the length in the header is wrong');
    if (this.refuse) return this.refuse;
    this.answers.push({
      channel,
      errno: -message.readInt32LE(4),
      unique: message.readBigUInt64LE(8),
      payload: message.subarray(OUT_HEADER_SIZE),
    });
    return 0;
  }

  pin(buffer: RequestBuffer): void {
    buffer.pinned = true;
    this.pinned++;
  }

  unpin(buffer: RequestBuffer): void {
    buffer.pinned = false;
    this.pinned--;
  }

  async notify(message: Buffer): Promise<void> {
    this.notifications.push(message);
  }
}

export interface RequestFields {
  readonly opcode: number;
  readonly nodeid?: number;
  readonly unique?: bigint;
  readonly uid?: number;
  /** The thread. */
  readonly pid?: number;
  readonly body?: Uint8Array;
}

/** A request as the device would have read it. */
export function requestBuffer(fields: RequestFields): RequestBuffer {
  const body = fields.body ?? new Uint8Array(0);
  const buffer = new Buffered(new ArrayBuffer((IN_HEADER_SIZE + body.length + 511) & ~7), 0);
  const { bytes } = buffer;
  bytes.writeUInt32LE(IN_HEADER_SIZE + body.length, 0);
  bytes.writeUInt32LE(fields.opcode, 4);
  bytes.writeBigUInt64LE(fields.unique ?? 2n, 8);
  bytes.writeBigUInt64LE(BigInt(fields.nodeid ?? 1), 16);
  bytes.writeUInt32LE(fields.uid ?? 0, 24);
  bytes.writeUInt32LE(fields.pid ?? 0, 32);
  bytes.set(body, IN_HEADER_SIZE);
  if (!buffer.begin(IN_HEADER_SIZE + body.length)) throw new Error('a request made here is always valid');
  return buffer;
}

/** Numbers of 32 bits, bigints of 64, strings with their NUL, and raw bytes, one after the other. */
export function body(...fields: (number | bigint | string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(
    fields.map(field => {
      if (typeof field === 'number') {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(field >>> 0);
        return bytes;
      }
      if (typeof field === 'bigint') {
        const bytes = Buffer.alloc(8);
        bytes.writeBigUInt64LE(BigInt.asUintN(64, field));
        return bytes;
      }
      return typeof field === 'string' ? Buffer.from(`${field}\0`) : field;
    }),
  );
}
