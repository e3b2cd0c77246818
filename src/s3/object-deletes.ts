/** DeleteObject and DeleteObjects. */
import type { CancelSignal } from '../concurrency.ts';
import { forEachLimit } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import { Failure, printable } from './error-kinds.ts';
import { conditionList } from './object-writes.ts';
import type { S3Request } from './requests.ts';
import { isFailure, storeErrorOf } from './requests.ts';
import { refuseErrorIn200 } from './result-document.ts';
import type { RequestOptions } from './store.ts';
import type { StoreContext } from './store-context.ts';
import { requestPayer, wholeKey } from './store-context.ts';

/** Single deletes at a time, where a store has no batches. */
const SINGLE_DELETES = 16;
/** Batches at a time. */
const BATCH_DELETES = 4;
const BATCH_KEYS = 1000;
/** XML 1.0 cannot carry these; such keys are deleted one by one. */
const NOT_IN_XML = /[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]|[\n\r]/u;

export class ObjectDeletes {
  readonly #with: StoreContext;

  constructor(context: StoreContext) {
    this.#with = context;
  }

  async delete(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<void> {
    const { ifMatch, signal } = options;
    const request: S3Request = { operation: 'DeleteObject', method: 'DELETE', key };
    try {
      if (ifMatch === undefined) {
        await this.#sent(request, signal);
        return;
      }
      if (!this.#with.writer.kept('DeleteObject')) {
        const info = await this.#with.look(key);
        if (!info) return;
        if (info.etag !== ifMatch) {
          throw new StoreError(
            'precondition-failed',
            `DeleteObject of "${printable(key)}": it is now version ${info.etag}`,
            {
              operation: 'DeleteObject',
              key,
            },
          );
        }
      }
      await this.#deleteVersion(request, key, ifMatch, signal);
    } catch (error) {
      if (isFailure(error, 'not-found')) return;
      throw storeErrorOf(error);
    }
  }

  async deleteMany(
    keys: readonly string[],
    options: RequestOptions = {},
  ): Promise<readonly { key: string; error: StoreError }[]> {
    const failed: { key: string; error: StoreError }[] = [];
    const single: string[] = [];
    const batched: string[] = [];
    for (const key of keys) (NOT_IN_XML.test(key) ? single : batched).push(key);
    const batches: string[][] = [];
    for (let from = 0; from < batched.length; from += BATCH_KEYS) batches.push(batched.slice(from, from + BATCH_KEYS));
    await forEachLimit(batches, BATCH_DELETES, async batch => {
      try {
        single.push(...(await this.#deleteBatch(batch, options.signal)));
      } catch (error) {
        const seen = storeErrorOf(error);
        if (isStoreError(seen, 'not-implemented')) single.push(...batch);
        else if (isStoreError(seen)) failed.push(...batch.map(key => ({ key, error: seen })));
        else throw error;
      }
    });
    // What a batch refused is asked for by itself: that retries, and tells the true reason.
    await forEachLimit(single, SINGLE_DELETES, async key => {
      try {
        await this.delete(key, options);
      } catch (error) {
        if (!isStoreError(error)) throw error;
        failed.push({ key, error });
      }
    });
    return failed;
  }

  async #deleteVersion(
    request: S3Request,
    key: string,
    ifMatch: string,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    for (;;) {
      const spelled = this.#with.writer.spelled('DeleteObject', ifMatch);
      try {
        const condition = conditionList({ ifMatch: spelled });
        await this.#sent({ ...request, signed: condition }, signal);
        return;
      } catch (error) {
        if (isFailure(error, 'not-implemented')) {
          // The version was looked at a moment ago: that is all such a store allows.
          await this.#sent(request, signal);
          return;
        }
        const refused = isFailure(error, 'precondition-failed');
        if (refused && (await this.#with.writer.afterRefusal('DeleteObject', key, ifMatch, spelled)) === 'again')
          continue;
        // Our own first attempt may have deleted it: gone is what was asked for.
        if (refused && error instanceof Failure && error.unknownBefore && !(await this.#with.look(key))) return;
        throw error;
      }
    }
  }

  /** A portal's page with status 200 deletes nothing. Rejects with `Failure`. */
  async #sent(request: S3Request, signal: CancelSignal | undefined): Promise<void> {
    const { requests } = this.#with;
    const subject = { operation: request.operation, key: request.key, bucket: requests.options.bucket };
    await requests.run(request, signal, async context => {
      refuseErrorIn200(subject, await requests.once(request, context, signal));
    });
  }

  /** Returns the keys that were not deleted. Rejects with `Failure`. */
  async #deleteBatch(keys: readonly string[], signal: CancelSignal | undefined): Promise<string[]> {
    const { prefix } = this.#with.requests.options;
    const { output } = await this.#with.control.run(
      'DeleteObjects',
      undefined,
      signal,
      (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.DeleteObjectsCommand({
            Bucket: bucket,
            Delete: { Quiet: true, Objects: keys.map(key => ({ Key: wholeKey(this.#with.requests, key) })) },
            ...requestPayer(this.#with.requests),
          }),
          sendOptions,
        ),
    );
    return (output.Errors ?? []).flatMap(error => {
      const gone = error.Code === 'NoSuchKey' || !error.Key?.startsWith(prefix);
      return gone ? [] : [error.Key!.slice(prefix.length)];
    });
  }
}
