/** What the filesystem tells the kernel unasked: queued, written one at a time by the thread pool, awaited by nobody. */
import type { Device } from './device.ts';
import type { KernelNotifier } from './ops.ts';
import { PRUNE_MINOR } from './protocol.ts';
import { encodeInvalidateEntry, encodeInvalidateInode, encodePrune } from './protocol-encode.ts';

export class DeviceNotifier implements KernelNotifier {
  readonly #device: Pick<Device, 'notify'>;
  /** By what they say: what is still waiting to be written need not be said twice. */
  readonly #waiting = new Map<string, Buffer>();
  #writing = false;

  readonly prune?: (nodeids: readonly number[]) => void;

  /** `minor`: of the protocol that is spoken. */
  constructor(device: Pick<Device, 'notify'>, minor: number) {
    this.#device = device;
    if (minor >= PRUNE_MINOR) {
      this.prune = nodeids => this.#queue(`prune/${nodeids[0]}`, () => encodePrune(nodeids));
    }
  }

  invalidateInode(nodeid: number, pages = false): void {
    this.#queue(`${pages ? 'pages' : 'attributes'}/${nodeid}`, () => encodeInvalidateInode(nodeid, pages));
  }

  invalidateEntry(parent: number, name: string): void {
    this.#queue(`entry/${parent}/${name}`, () => encodeInvalidateEntry(parent, name));
  }

  #queue(key: string, encode: () => Buffer): void {
    if (this.#waiting.has(key)) return;
    this.#waiting.set(key, encode());
    if (!this.#writing) void this.#write();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    // Even the first is written after the operation that said it has returned, and with it, perhaps, answered.
    await Promise.resolve();
    for (const [key, message] of this.#waiting) {
      this.#waiting.delete(key);
      await this.#device.notify(message);
    }
    this.#writing = false;
  }
}
