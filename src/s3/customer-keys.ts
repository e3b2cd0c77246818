/**
 * Keys that the customer keeps (SSE-C): S3 encrypts with what comes with the request, and forgets it.
 *
 * 1. Each request that touches an object's bytes, a HEAD too, has to bring the key of that very object. Which one it is S3 does
 *    not tell: a wrong one is refused (403), and so is one for an object that has none (400).
 * 2. Keys are rotated: the first of the list writes, all of them read, and objects of others have none at all.
 *
 * So what is not known is tried in turn, and remembered.
 */
import { createHash } from 'node:crypto';
import { StoreError } from '../errors.ts';
import type { HeaderList } from './object-headers.ts';

export interface CustomerKeySettings {
  /** 32 bytes each; the first writes. */
  readonly keys: readonly Uint8Array[];
  /** False: they are for reading what others wrote. */
  readonly write: boolean;
}

/** An object's key: its place in the list, or that it has none. */
export type KeyChoice = number;
const NONE: KeyChoice = -1;

/** Objects whose key is remembered, some 100 bytes each. */
const MAX_KNOWN = 50_000;

const NOTHING: HeaderList = [];

interface KeyHeaders {
  readonly own: HeaderList;
  readonly source: HeaderList;
}

/** What a request needs of a key. */
export type KeyUse = 'read' | 'write' | 'copy' | 'none';

const USES: Readonly<Record<string, KeyUse>> = {
  GetObject: 'read',
  HeadObject: 'read',
  PutObject: 'write',
  CreateMultipartUpload: 'write',
  UploadPart: 'write',
  CopyObject: 'copy',
  UploadPartCopy: 'copy',
};

export class CustomerKeys {
  readonly #headers: readonly KeyHeaders[];
  readonly #write: boolean;
  readonly #known = new Map<string, KeyChoice>();

  /** Throws `StoreError` ('invalid') for a key that is none. */
  constructor({ keys, write }: CustomerKeySettings) {
    if (keys.length === 0 || keys.some(key => key.length !== 32)) {
      throw new StoreError('invalid', 'a key of the customer (SSE-C) has 32 bytes');
    }
    this.#write = write;
    this.#headers = keys.map(key => ({ own: headersOf('x-amz-', key), source: headersOf('x-amz-copy-source-', key) }));
  }

  /** What is written is encrypted by the first key. */
  get writes(): boolean {
    return this.#write;
  }

  useOf(operation: string): KeyUse {
    return Object.hasOwn(USES, operation) ? USES[operation]! : 'none';
  }

  /** In the order in which they should be tried for the object under `key`. */
  choices(key: string): readonly KeyChoice[] {
    const all = [...this.#headers.keys(), NONE];
    const known = this.#known.get(key);
    return known === undefined ? all : [known, ...all.filter(choice => choice !== known)];
  }

  /** To read an object, or to copy from it. */
  reading(choice: KeyChoice, role: 'own' | 'source'): HeaderList {
    return choice === NONE ? NOTHING : this.#headers[choice]![role];
  }

  get writing(): HeaderList {
    return this.#write ? this.#headers[0]!.own : NOTHING;
  }

  learned(key: string, choice: KeyChoice): void {
    this.#known.delete(key);
    if (this.#known.size >= MAX_KNOWN) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.set(key, choice);
  }

  /** The object under `key` was written by us. */
  written(key: string): void {
    this.learned(key, this.#write ? 0 : NONE);
  }
}

function headersOf(prefix: string, key: Uint8Array): HeaderList {
  const name = `${prefix}server-side-encryption-customer-`;
  return [
    [`${name}algorithm`, 'AES256'],
    [`${name}key`, Buffer.from(key).toString('base64')],
    [`${name}key-md5`, createHash('md5').update(key).digest('base64')],
  ];
}

/** S3 may have refused the key: 403 for a wrong one, 400 where one is missing or not wanted. */
export function mayBeTheKey(status: number | undefined): boolean {
  return status === 400 || status === 403;
}
