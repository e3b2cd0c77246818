/**
 * What a daemon that died has left under hidden names, put right by the next mount of the same host: in the background, as far
 * as S3 lets it.
 *
 * 1. Copies of files that were unlinked while open, and objects of zeros, are of no use to anybody: they go.
 * 2. What another client wrote may have been put aside while a conflict was resolved (`ConflictCopies`), and then the hidden
 *    copy can be the only one. Its key tells under which name it belongs: it goes where the name has it again, takes the name
 *    where that is free, and else becomes a conflict copy beside it.
 * 3. Another mount of this host may be at work. Whatever is young is left alone.
 */
import { randomUUID } from 'node:crypto';
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import { forEachLimit } from '../concurrency.ts';
import { isStoreError } from '../errors.ts';
import type { ListedObject, ObjectDescription, WriteCondition } from '../s3/store.ts';
import { conflictName } from './conflict-name.ts';
import type { Environment } from './environment.ts';
import { byteLength, HIDDEN_PREFIX } from './keys.ts';

/** ms. A file may be open for days after its unlink: a week. */
const UNLINKED_FOR = 7 * 24 * 3600 * 1000;
/** ms. A save, and a conflict, take minutes, with terabytes hours: a day. */
const BUSY_FOR = 24 * 3600 * 1000;

const PARALLEL = 4;

/** Where hidden objects of one kind lie. */
export function hiddenPlace(kind: 'unlinked' | 'conflict' | 'zeros', hostname: string): string {
  return `${HIDDEN_PREFIX}${kind}/${hostname}/`;
}

/** A hidden key for what has been put aside from `key`; it tells so unless S3 takes no key that long (`limit` bytes). */
export function keyAside(hostname: string, key: string, limit: number): string {
  const unnamed = hiddenPlace('conflict', hostname) + randomUUID();
  const named = `${unnamed}/${key}`;
  return byteLength(named) <= limit ? named : unnamed;
}

export class Leftovers {
  readonly #environment: Environment;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** One listing in most cases. Never rejects. */
  async sweep(): Promise<void> {
    const { store, clock, telemetry } = this.#environment;
    try {
      for (let continuation: string | undefined; ; ) {
        const page = await store.list({
          prefix: HIDDEN_PREFIX,
          ...(continuation === undefined ? {} : { continuation }),
        });
        await forEachLimit(page.objects, PARALLEL, async object => {
          await this.#settle(object, clock.now() - object.lastModified).catch(error => {
            telemetry.log.debug({ key: object.key, error }, 'what an earlier mount left is still there');
          });
        });
        if (page.next === undefined) break;
        continuation = page.next;
      }
    } catch (error) {
      telemetry.log.debug({ error }, 'what earlier mounts left was not looked for');
    }
  }

  /** `age` in ms. */
  async #settle(object: ListedObject, age: number): Promise<void> {
    const { store, options } = this.#environment;
    const isOf = (kind: 'unlinked' | 'conflict' | 'zeros'): boolean =>
      object.key.startsWith(hiddenPlace(kind, options.hostname));
    if (isOf('unlinked') && age > UNLINKED_FOR) await store.delete(object.key);
    else if (isOf('zeros') && age > BUSY_FOR) await store.delete(object.key);
    else if (isOf('conflict') && age > BUSY_FOR) await this.#bringBack(object);
  }

  async #bringBack(aside: ListedObject): Promise<void> {
    const { store, telemetry, options } = this.#environment;
    const place = aside.key.slice(hiddenPlace('conflict', options.hostname).length);
    const slash = place.indexOf('/');
    if (slash < 0) {
      const message = `${aside.key} was put aside by a mount that died, and its key was too long to tell its name: it stays`;
      telemetry.log.warn({ key: aside.key }, message);
      return;
    }
    const key = place.slice(slash + 1);
    const there = await store.head(key).catch(error => {
      if (isStoreError(error, 'not-found')) return undefined;
      throw error;
    });
    if (there?.etag !== aside.etag || there.size !== aside.size) {
      const description = await this.#describe(aside);
      const absent: WriteCondition = { ifAbsent: true };
      const target = there ? besideOf(key, options.hostname, aside.lastModified) : key;
      await copyObject(store, aside, target, description, absent);
      const message = `what another client wrote to ${key} is ${target}: a mount that died had put it aside`;
      telemetry.log.warn({ key, kept: target }, message);
    }
    await store.delete(aside.key);
  }

  async #describe(aside: ListedObject): Promise<ObjectDescription | undefined> {
    const { store } = this.#environment;
    if (!needsDescription(aside.size, store.limits)) return undefined;
    const info = await store.head(aside.key);
    return info.tagCount === 0 ? info.description : { ...info.description, tags: await store.tags(aside.key) };
  }
}

function besideOf(key: string, hostname: string, time: number): string {
  const slash = key.lastIndexOf('/') + 1;
  return key.slice(0, slash) + conflictName(hostname, time, key.slice(slash), 0);
}
