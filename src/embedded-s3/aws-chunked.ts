/**
 * The `aws-chunked` content encoding: `SIZE[;chunk-signature=…]\r\n` bytes `\r\n` …, a last piece of size 0, then trailers.
 * Data is passed on as slices of what came in; only a header line that is split over two reads is joined.
 */
import { S3Failure } from './s3-error.ts';

/** A header or trailer line of a well-meant client is far below this. */
const MAX_LINE = 16 * 1024;

export interface ChunkedSink {
  data(bytes: Buffer): void;
  /** The end of one piece, with the signature from its header line. Size 0 is the last one. */
  pieceEnd?(signature: string | undefined): void;
  trailer?(name: string, value: string): void;
}

type State = 'header' | 'data' | 'data-end' | 'trailer' | 'done';

export class AwsChunkedDecoder {
  readonly #sink: ChunkedSink;
  #state: State = 'header';
  #line = '';
  #left = 0;
  #signature: string | undefined;

  constructor(sink: ChunkedSink) {
    this.#sink = sink;
  }

  get finished(): boolean {
    return this.#state === 'done' || (this.#state === 'trailer' && this.#line === '');
  }

  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const take = Math.min(this.#left, bytes.length - at);
        this.#sink.data(bytes.subarray(at, at + take));
        at += take;
        this.#left -= take;
        if (this.#left === 0) {
          this.#sink.pieceEnd?.(this.#signature);
          this.#state = 'data-end';
        }
        continue;
      }
      const newline = bytes.indexOf(0x0a, at);
      const end = newline < 0 ? bytes.length : newline + 1;
      this.#line += bytes.toString('latin1', at, end);
      if (this.#line.length > MAX_LINE) throw malformed();
      at = end;
      if (newline < 0) return;
      const line = this.#line.replace(/\r?\n$/, '');
      this.#line = '';
      this.#takeLine(line);
    }
  }

  #takeLine(line: string): void {
    if (this.#state === 'data-end') {
      if (line !== '') throw malformed();
      this.#state = 'header';
    } else if (this.#state === 'header') {
      const match = /^([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?\s*$/.exec(line);
      if (!match) throw malformed();
      this.#left = Number.parseInt(match[1]!, 16);
      this.#signature = match[2];
      this.#state = this.#left > 0 ? 'data' : 'trailer';
      if (this.#left === 0) this.#sink.pieceEnd?.(this.#signature);
    } else if (line === '') {
      this.#state = 'done';
    } else {
      const colon = line.indexOf(':');
      if (colon < 0) throw malformed();
      this.#sink.trailer?.(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
  }
}

function malformed(): S3Failure {
  return new S3Failure('InvalidRequest', { message: 'The aws-chunked body is malformed.' });
}
