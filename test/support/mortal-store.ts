/** A store seen through a daemon that may die: from then on none of its requests is sent, and none is answered. */
import type { ObjectStore, Upload } from '../../src/s3/store.ts';

export interface Life {
  isOver: boolean;
}

/** One for each who waits: a promise that all share would keep whoever waits for it, and with them their whole world. */
const never = (): Promise<never> => new Promise(() => {});

/** `store`, as long as `life` is not over. */
export function mortal<T extends ObjectStore>(store: T, life: Life): T {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        if (life.isOver) return never();
        const result: unknown = member.apply(target, args);
        return result instanceof Promise ? whileAlive(result, life, name) : result;
      };
    },
  });
}

async function whileAlive(result: Promise<unknown>, life: Life, name: string | symbol): Promise<unknown> {
  const value = await result.finally(() => (life.isOver ? never() : undefined));
  return name === 'beginUpload' ? mortalUpload(value as Upload, life) : value;
}

function mortalUpload(upload: Upload, life: Life): Upload {
  const alive = <T>(work: () => Promise<T>): Promise<T> => (life.isOver ? never() : work());
  return {
    key: upload.key,
    uploadId: upload.uploadId,
    putPart: (...args) => alive(() => upload.putPart(...args)),
    copyPart: (...args) => alive(() => upload.copyPart(...args)),
    complete: (...args) => alive(() => upload.complete(...args)),
    abort: () => alive(() => upload.abort()),
  };
}
