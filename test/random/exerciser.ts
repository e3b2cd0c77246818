/**
 * Random operations on the bytes of a few files in a mount, each compared with a model in memory.
 *
 * Everything goes through the kernel, as programs do it: several descriptors of one file, memory maps, O_DIRECT past the page
 * cache, descriptors that append. Now and then all is compared with what S3 has, and the daemon is ended, in order or by
 * SIGKILL after an fsync, and started again.
 *
 * The seed decides everything but time: what is reported as failed can be played again.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import type { RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { copyFileRangeAt, fallocate, lseek, mapShared } from '../support/syscalls.ts';
import { Draw } from './draw.ts';
import { type Access, drawOperation, type Operation, type Scenery, type Shape } from './file-operations.ts';
import { differenceOf, ModelBytes } from './model-file.ts';

const { O_RDWR, O_RDONLY, O_APPEND, O_CREAT, O_DIRECT } = constants;
const FLAGS: Readonly<Record<Access, number>> = {
  rdwr: O_RDWR,
  append: O_RDWR | O_APPEND,
  direct: O_RDWR | O_DIRECT,
  rdonly: O_RDONLY,
};

/** Operations before a failure that are told. */
const TOLD = 25;

interface Slot {
  fd: number;
  access: Access;
}

class Exercised {
  readonly name: string;
  readonly path: string;
  readonly bytes: ModelBytes;
  readonly slots: Slot[] = [];
  /** Written by a map, and perhaps known to the kernel alone. */
  isMapped = false;

  constructor(name: string, path: string, capacity: number) {
    this.name = name;
    this.path = path;
    this.bytes = new ModelBytes(capacity);
  }

  open(slot: number, access: Access): void {
    this.slots[slot] = { fd: openSync(this.path, FLAGS[access] | O_CREAT, 0o644), access };
  }

  close(slot: number): void {
    closeSync(this.slots[slot]!.fd);
    this.isMapped = false;
  }
}

export class Exerciser implements Scenery {
  readonly #mount: RealMount;
  readonly #shape: Shape;
  readonly #files: Exercised[];
  readonly #draw: Draw;
  readonly #history: string[] = [];
  #count = 0;

  constructor(mount: RealMount, shape: Shape, seed: number) {
    this.#mount = mount;
    this.#shape = shape;
    this.#draw = new Draw(seed);
    this.#files = Array.from({ length: shape.files }, (_, i) => {
      const name = `random-${seed}-${i}`;
      return new Exercised(name, mount.path(name), shape.capacity);
    });
  }

  sizeOf(file: number): number {
    return this.#files[file]!.bytes.size;
  }

  accessOf(file: number, slot: number): Access {
    return this.#files[file]!.slots[slot]!.access;
  }

  /** Makes `count` operations, then compares everything. Throws with what was done last. */
  async run(count: number): Promise<void> {
    let operation: Operation | undefined;
    try {
      this.#openAll();
      while (this.#count < count) {
        operation = drawOperation(this.#draw, this.#shape, this);
        this.#history.push(`${this.#count++} ${JSON.stringify(operation)}`);
        const wrong = await this.#perform(operation);
        if (wrong !== undefined) throw new Error(wrong);
      }
      operation = undefined;
      await this.#compareAll();
      this.#closeAll();
    } catch (error) {
      const told = this.#history.slice(-TOLD).join('\n  ');
      throw new Error(`${(error as Error).message}\n  after\n  ${told}`, { cause: error });
    }
  }

  #openAll(): void {
    for (const file of this.#files) {
      for (let slot = 0; slot < this.#shape.slots; slot++) file.open(slot, slot === 0 ? 'rdwr' : 'direct');
    }
  }

  #closeAll(): void {
    for (const file of this.#files) for (let slot = 0; slot < file.slots.length; slot++) file.close(slot);
  }

  #perform(operation: Operation): string | undefined | Promise<string | undefined> {
    switch (operation.do) {
      case 'compare':
        return this.#compareAll();
      case 'remount':
        return this.#remount();
      case 'kill':
        return this.#kill();
    }
    const file = this.#files[operation.file]!;
    const { bytes } = file;
    if (operation.do === 'truncate') {
      truncateSync(file.path, operation.size);
      bytes.truncate(operation.size);
      return undefined;
    }
    const { fd } = file.slots[operation.slot]!;
    switch (operation.do) {
      case 'write': {
        const data = patternBytes(operation.length, operation.tag);
        const written = writeSync(fd, data, 0, data.length, operation.offset);
        if (written !== data.length) return `${written} bytes written`;
        bytes.write(operation.offset, data);
        return undefined;
      }
      case 'read': {
        const into = Buffer.alloc(operation.length);
        const count = readSync(fd, into, 0, into.length, operation.offset);
        return differenceOf(bytes.slice(operation.offset, operation.length), into.subarray(0, count));
      }
      case 'mapWrite': {
        const data = patternBytes(operation.length, operation.tag);
        const map = mapShared(fd, bytes.size);
        map.bytes.set(data, operation.offset);
        if (operation.tag % 2 === 0) map.sync();
        else file.isMapped = true;
        map.unmap();
        bytes.write(operation.offset, data);
        return undefined;
      }
      case 'mapRead': {
        const map = mapShared(fd, bytes.size, 'read');
        const { offset, length } = operation;
        const found = Buffer.from(map.bytes.subarray(offset, offset + length));
        map.unmap();
        return differenceOf(bytes.slice(offset, length), found);
      }
      case 'ftruncate':
        ftruncateSync(fd, operation.size);
        bytes.truncate(operation.size);
        return undefined;
      case 'fallocate':
        fallocate(fd, operation.mode, operation.offset, operation.length);
        bytes.allocate(operation.mode, operation.offset, operation.length);
        return undefined;
      case 'copy':
        return this.#copy(operation, file);
      case 'seek':
        return this.#seek(operation.offset, operation.whence, fd, file);
      case 'fsync':
        fsyncSync(fd);
        file.isMapped = false;
        return undefined;
      case 'stat': {
        const { size } = fstatSync(fd);
        return size === bytes.size ? undefined : `the size is ${size} instead of ${bytes.size}`;
      }
      case 'reopen': {
        file.close(operation.slot);
        file.open(operation.slot, operation.access);
        const fresh = readFileSync(file.path);
        return differenceOf(bytes.all, fresh);
      }
    }
  }

  #copy({ slot, to, toSlot, offset, target, length }: Extract<Operation, { do: 'copy' }>, file: Exercised): undefined {
    const into = this.#files[to]!;
    const { fd } = file.slots[slot]!;
    for (let done = 0; done < length; ) {
      const count = copyFileRangeAt(fd, offset + done, into.slots[toSlot]!.fd, target + done, length - done);
      if (count === 0) throw new Error(`copy_file_range ended after ${done} of ${length} bytes`);
      into.bytes.write(target + done, Buffer.from(file.bytes.slice(offset + done, count)));
      done += count;
    }
    return undefined;
  }

  #seek(offset: number, whence: number, fd: number, file: Exercised): string | undefined {
    // What a map wrote is the kernel's until it is written back: where it lies the filesystem still knows a hole.
    if (file.isMapped) return undefined;
    let found: number | 'ENXIO';
    try {
      found = lseek(fd, offset, whence);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
      found = 'ENXIO';
    }
    return file.bytes.wrongPlace(offset, whence, found);
  }

  #saveAll(): void {
    for (const file of this.#files) {
      fsyncSync(file.slots[0]!.fd);
      file.isMapped = false;
    }
  }

  /** Through the mount, and after an fsync as another client has it. */
  async #compareAll(): Promise<string | undefined> {
    for (const file of this.#files) {
      const wrong = differenceOf(file.bytes.all, readFileSync(file.path));
      if (wrong !== undefined) return `${file.name}: ${wrong}`;
    }
    this.#saveAll();
    for (const file of this.#files) {
      const stored = await this.#mount.client.get(file.name);
      const wrong = stored ? differenceOf(file.bytes.all, stored) : 'there is no object';
      if (wrong !== undefined) return `${file.name} in S3: ${wrong}`;
    }
    return undefined;
  }

  async #remount(): Promise<string | undefined> {
    this.#closeAll();
    await this.#mount.remount();
    return this.#startOver();
  }

  /** What fsync has reported is there after that. */
  async #kill(): Promise<string | undefined> {
    this.#saveAll();
    this.#mount.kill('SIGKILL');
    await this.#mount.ended;
    for (const { slots } of this.#files) for (const { fd } of slots) closeLost(fd);
    await this.#mount.start();
    return this.#startOver();
  }

  #startOver(): string | undefined {
    for (const file of this.#files) file.isMapped = false;
    this.#openAll();
    for (const file of this.#files) {
      const wrong = differenceOf(file.bytes.all, readFileSync(file.path));
      if (wrong !== undefined) return `${file.name}: ${wrong}`;
    }
    return undefined;
  }
}

/** Of a mount whose daemon is gone: close(2) says ENOTCONN, the descriptor is closed all the same. */
function closeLost(fd: number): void {
  try {
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTCONN') throw error;
  }
}
