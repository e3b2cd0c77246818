/**
 * One ranged GET whose body goes straight into the caller's buffers, and goes on where it broke.
 *
 * Whatever the network does, the buffers hold bytes of one version: an attempt after the first asks for the ETag that the
 * first was answered with. Length, range and ETag of each answer are checked before a byte is taken; a small object that
 * comes whole is handed on when its bytes have been verified (`verification.ts`).
 */
import type { CancelSignal } from '../concurrency.ts';
import { crc32 } from '../crc32.ts';
import { StoreError } from '../errors.ts';
import { isWebPage, printable } from './error-kinds.ts';
import type { ResponseHead } from './http-message.ts';
import { quotedEtag } from './listing.ts';
import { objectInfo } from './object-headers.ts';
import type { ReadChecksums } from './read-checksums.ts';
import type { S3Requests } from './requests.ts';
import type { AttemptContext } from './retry.ts';
import type { GetRequest, GetResult, GetSink, ObjectInfo } from './store.ts';
import type { Expected, Verification } from './verification.ts';
import { VERIFIED_BYTES } from './verification.ts';

const NOTHING = new Uint8Array(0);

interface Range {
  readonly first: number;
  readonly bytes: number;
  readonly size: number;
}

/** What `bytes first-last/size` says; undefined if it is not that. */
function contentRange(text: string | undefined): Range | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text ?? '');
  if (!match) return undefined;
  const [first, last, size] = [Number(match[1]), Number(match[2]), Number(match[3])];
  return first <= last && last < size ? { first, bytes: last - first + 1, size } : undefined;
}

export class RangedGet {
  readonly #requests: S3Requests;
  readonly #key: string;
  readonly #request: GetRequest;
  readonly #sink: GetSink;
  /** The ETag that an answer must have. */
  readonly #spelled: (etag: string) => string;
  readonly #verification: Verification;
  readonly #sums: ReadChecksums;
  /** CRC32 of what has come, where that of the whole object is known and this range follows what came of it. */
  #crc: number | undefined;
  /** What the answer told of this range, which is a part of the object. */
  #told: number | undefined;
  /** Bytes that `#crc` is of. */
  #summed = 0;
  /** Set where all the bytes of an object are to come, which are held back until they fit this. */
  #wanted: Expected | undefined;
  /** What bytes that did not fit came to, last time. */
  #misfit: Uint8Array | undefined;
  #info: ObjectInfo | undefined;
  #received = 0;
  /** Bytes that there are of what was asked for, once that is known. */
  #expected = 0;

  constructor(
    requests: S3Requests,
    key: string,
    request: GetRequest,
    sink: GetSink,
    spelled: (etag: string) => string,
    verification: Verification,
    sums: ReadChecksums,
  ) {
    this.#requests = requests;
    this.#key = key;
    this.#request = request;
    this.#sink = sink;
    this.#spelled = spelled;
    this.#verification = verification;
    this.#sums = sums;
  }

  /** The answer to the first attempt that got one. */
  get info(): ObjectInfo | undefined {
    return this.#info;
  }

  /** Rejects with `Failure`; with kind `range` for an empty object too. */
  async run(signal: CancelSignal | undefined): Promise<GetResult> {
    const { offset, length } = this.#request;
    await this.#requests.run({ operation: 'GetObject', key: this.#key }, signal, async context => {
      const before = this.#received;
      const must = this.#info?.etag ?? this.#request.ifMatch;
      const condition = must === undefined ? '' : `if-match: ${this.#spelled(must)}\r\n`;
      await this.#requests.hedge.run(
        sending =>
          this.#requests.once(
            {
              operation: 'GetObject',
              method: 'GET',
              key: this.#key,
              unsigned: `range: bytes=${offset + before}-${offset + length - 1}\r\n${condition}`,
              answer: head => {
                sending.answered();
                return this.#begin(head, before, must);
              },
              progress: bytes => {
                this.#received = before + bytes;
                this.#sum();
                if (!this.#wanted) this.#sink.filled?.(this.#handedOn());
              },
            },
            context,
            sending.signal,
          ),
        signal,
        () => this.#requests.hasRoom,
      );
      if (this.#received < this.#expected) {
        throw this.#corrupt(`${this.#received} of ${this.#expected} bytes came`);
      }
      if (this.#wanted) this.#verify(this.#wanted, context);
    });
    const info = this.#info!;
    if (this.#crc !== undefined) {
      this.#sum();
      this.#sums.came(info, { offset, length: this.#received, crc: this.#crc, told: this.#told });
      this.#sink.filled?.(this.#received);
    }
    return { info, bytes: this.#received };
  }

  /** Bytes that the caller may have: where all must fit together the last one waits for the verdict. */
  #handedOn(): number {
    return this.#crc === undefined ? this.#received : Math.min(this.#received, this.#expected - 1);
  }

  /** Takes the CRC32 of what has arrived, before anybody is told of it: buffers may be given to others then. */
  #sum(): void {
    if (this.#crc === undefined) return;
    let skip = this.#summed;
    let left = this.#received - this.#summed;
    for (let i = 0; left > 0; i++) {
      const buffer = this.#sink.buffers[i]!;
      if (skip >= buffer.length) {
        skip -= buffer.length;
        continue;
      }
      const slice = buffer.subarray(skip, Math.min(buffer.length, skip + left));
      this.#crc = crc32(slice, this.#crc);
      left -= slice.length;
      skip = 0;
    }
    this.#summed = this.#received;
  }

  /** Checks the head, and says where the body goes. */
  #begin(head: ResponseHead, before: number, must: string | undefined): readonly Uint8Array[] {
    const { offset, length } = this.#request;
    if (isWebPage(head.headers, NOTHING) && !head.headers.has('etag')) {
      throw this.#corrupt('a web page came instead of an answer of S3; check url= and the proxy');
    }
    const range = this.#rangeOf(head);
    if (range.first !== offset + before || range.bytes !== Math.min(length - before, range.size - range.first)) {
      throw this.#corrupt(`bytes ${range.first} to ${range.first + range.bytes - 1} came, which were not asked for`);
    }
    if (typeof head.framing === 'number' && head.framing !== range.bytes) {
      throw this.#corrupt(`the answer has ${head.framing} bytes, and says ${range.bytes}`);
    }
    const etag = quotedEtag(head.headers.get('etag') ?? '');
    if (must !== undefined && etag !== must) {
      // The store ignores If-Match on reads: then this check is ours.
      throw new StoreError(
        'precondition-failed',
        `GetObject of "${printable(this.#key, 1024)}": it is now version ${etag}`,
        {
          operation: 'GetObject',
          key: this.#key,
        },
      );
    }
    if (!this.#info) {
      this.#info = objectInfo(this.#key, range.size, head.headers, this.#requests.options.clock.now());
      this.#expected = range.bytes;
      if (range.first === 0 && range.bytes === range.size && range.size <= VERIFIED_BYTES) {
        const known = this.#sums.of(this.#key, etag, range.size);
        this.#wanted = this.#verification.expected(head.headers, etag, known);
      }
      if (!this.#wanted) {
        // What is told of an object that comes whole does not show that ranges are told theirs.
        if (range.bytes === range.size) this.#sums.told(this.#info, head.headers);
        else this.#told = this.#sums.ofRange(this.#info, head.headers);
        if (this.#told !== undefined || this.#sums.follows(this.#info, range.first)) this.#crc = 0;
      }
      this.#sink.started?.(this.#info);
    }
    return before === 0 ? this.#sink.buffers : after(this.#sink.buffers, before);
  }

  /** All bytes are in: hands them on if they are right; else they are fetched anew. Throws `StoreError` ('corrupt'). */
  #verify(wanted: Expected, context: AttemptContext): void {
    const digest = wanted.digest(upTo(this.#sink.buffers, this.#received));
    if (!Buffer.from(digest).equals(wanted.value)) {
      const again = this.#misfit !== undefined && Buffer.from(digest).equals(this.#misfit);
      if (!again || !this.#verification.isNoDigest(wanted)) {
        this.#misfit = digest;
        this.#received = 0;
        context.wasted();
        throw this.#corrupt(`the bytes that came do not fit its ${wanted.name}`);
      }
    } else this.#verification.fitted(wanted);
    this.#wanted = undefined;
    this.#sink.filled?.(this.#received);
  }

  #rangeOf(head: ResponseHead): Range {
    if (head.status === 206) {
      const range = contentRange(head.headers.get('content-range'));
      if (!range) throw this.#corrupt('a part came without saying which');
      return range;
    }
    // The whole object, from a store that ignores ranges: right only if that is what was asked for.
    if (head.status !== 200 || typeof head.framing !== 'number') {
      throw this.#corrupt(`S3 answered ${head.status} to a request for a range`);
    }
    return { first: 0, bytes: head.framing, size: head.framing };
  }

  #corrupt(what: string): StoreError {
    return new StoreError('corrupt', `GetObject of "${printable(this.#key, 1024)}": ${what}`, {
      operation: 'GetObject',
      key: this.#key,
    });
  }
}

/** The first `bytes` of `buffers`. */
function upTo(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  const slices: Uint8Array[] = [];
  for (let left = bytes, i = 0; left > 0; i++) {
    const buffer = buffers[i]!;
    slices.push(buffer.length <= left ? buffer : buffer.subarray(0, left));
    left -= buffer.length;
  }
  return slices;
}

/** `buffers` without their first `bytes`. */
function after(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = bytes;
  for (const buffer of buffers) {
    if (skip >= buffer.length) {
      skip -= buffer.length;
    } else {
      rest.push(skip === 0 ? buffer : buffer.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}
