/** What an EC2 instance is told of itself: version 2 of its metadata service, past any proxy. */
import { Buffer } from 'node:buffer';
import type { Clock } from '../concurrency.ts';
import { originOf } from './endpoint.ts';
import { HttpTransport } from './http-transport.ts';

/** The metadata service of an EC2 instance. */
export const INSTANCE_METADATA = 'http://169.254.169.254';

/** ms for one question: it is a hop away, and where nobody answers a start must not wait. */
const ASK_MS = 2_000;
/** Seconds that a token holds: long enough not to ask for one with each question. */
const TOKEN_SECONDS = 3_600;

export interface MetadataAnswer {
  readonly status: number;
  readonly text: string;
}

export class InstanceMetadata {
  readonly #host: string;
  readonly #origin: ReturnType<typeof originOf>;
  readonly #transport: HttpTransport;
  readonly #patience: number;
  #token: string | undefined;

  /** `patience` in ms. @throws {TypeError} where `service` is no URL. */
  constructor(service: string, clock: Clock, patience = ASK_MS) {
    const { hostname, port, host } = new URL(service);
    this.#host = host;
    this.#origin = originOf(false, hostname.replace(/^\[|\]$/g, ''), port === '' ? 80 : Number(port));
    const timeouts = { connect: patience / 2, firstByte: patience, stall: patience };
    this.#patience = patience;
    this.#transport = new HttpTransport({ clock, timeouts });
  }

  /** `path` below `/latest/meta-data/`. Rejects, or is undefined, where nobody answers or gives out tokens. */
  async get(path: string): Promise<MetadataAnswer | undefined> {
    const signal = AbortSignal.timeout(this.#patience);
    const answer = await this.#get(path, signal);
    if (answer?.status !== 401) return answer;
    // The token is too old.
    this.#token = undefined;
    return this.#get(path, signal);
  }

  close(): void {
    this.#transport.close();
  }

  async #get(path: string, signal: AbortSignal): Promise<MetadataAnswer | undefined> {
    this.#token ??= await this.#newToken(signal);
    if (this.#token === undefined) return undefined;
    return this.#ask('GET', `/latest/meta-data/${path}`, `x-aws-ec2-metadata-token: ${this.#token}\r\n`, signal);
  }

  async #newToken(signal: AbortSignal): Promise<string | undefined> {
    const lifetime = `x-aws-ec2-metadata-token-ttl-seconds: ${TOKEN_SECONDS}\r\ncontent-length: 0\r\n`;
    const { status, text } = await this.#ask('PUT', '/latest/api/token', lifetime, signal);
    return status === 200 && /^[\x21-\x7e]+$/.test(text) ? text : undefined;
  }

  async #ask(method: string, path: string, header: string, signal: AbortSignal): Promise<MetadataAnswer> {
    const head = `${method} ${path} HTTP/1.1\r\nhost: ${this.#host}\r\n${header}\r\n`;
    const answer = await this.#transport.request({ origin: this.#origin, method, head, signal });
    return { status: answer.head.status, text: Buffer.from(answer.body).toString('latin1').trim() };
  }
}
