/**
 * Faults on demand: what can go wrong between a client and S3, struck by operation and key.
 *
 * Written as text, several joined by `;`: `kind[=value][:name=value,…]`, such as `status=503:op=GetObject,n=2` or
 * `stall=5s:op=get,key=.csv$,at=0.5`.
 *
 * | kind | what happens |
 * |---|---|
 * | `status=503` | the error, nothing done |
 * | `lost` | the work is done, then the connection is reset instead of the answer |
 * | `reset=0.5`, `truncate=0.5` | after that share of the body: RST, orderly close |
 * | `stall=5s`, `corrupt` | a pause within the body, one bit flipped (of an upload: of what arrives) |
 * | `slow=3s` | the first byte of the answer comes that much later |
 * | `error200` | Copy, UploadPartCopy, Complete: status 200 with an `<Error>` body, nothing done |
 * | `page` | status 200 with a web page, nothing done: a proxy or a portal in the place of S3 |
 * | `cut=0.5` | XML that ends after that share, well framed; the work is done |
 * | `event` | nothing by itself: for the `run` of a rule, which other kinds take as well |
 * | `altered` | a write succeeds, but one stored byte is another: ETag and checksum tell nothing |
 * | `missing` | a write succeeds, but the object is not there |
 * | `undone` | a copy succeeds and changes nothing, and the delete of its source likewise: a rename undone |
 *
 * Options: `op` (an operation's name or class), `key` (text within it, `^` and `$` for its ends), `n` (strikes so often),
 * `after` (leaves the first ones alone), `p` (probability), `at` (a share of the body, or bytes).
 */
import { OPERATIONS, type Operation } from './route.ts';

export const FAULT_KINDS = [
  'status',
  'lost',
  'reset',
  'truncate',
  'stall',
  'corrupt',
  'slow',
  'error200',
  'page',
  'cut',
  'event',
  'altered',
  'missing',
  'undone',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface FaultRule {
  readonly kind: FaultKind;
  /** Operation such as `GetObject` or class such as `get`; absent: all that the kind makes sense for. */
  readonly operation?: string;
  /** Text within the key; `^text` and `text$` bind it to an end. JavaScript text, not bytes. */
  readonly key?: string | RegExp;
  /** Strikes so often; absent: always. */
  readonly count?: number;
  /** The first matches that are left alone. */
  readonly after?: number;
  readonly probability?: number;
  /** Where in the body: 0 … 1 a share of it, more: bytes. Default 0.5. */
  readonly at?: number;
  /** `status`: the HTTP status, 500. */
  readonly status?: number;
  /** `status`: S3's code; absent: the one usual for the status. */
  readonly code?: string;
  /** `stall`, `slow`: ms, 5,000. */
  readonly ms?: number;
  /** Called when it strikes, before the work is done: what another client does in between, say. */
  readonly run?: () => void;
}

export interface ActiveFault {
  readonly rule: FaultRule;
  readonly matches: number;
  readonly hits: number;
}

const WRITES: readonly Operation[] = ['PutObject', 'CopyObject', 'CompleteMultipartUpload'];
const ANSWERS_LATE: readonly Operation[] = ['CopyObject', 'UploadPartCopy', 'CompleteMultipartUpload'];
const ANSWERS_XML: readonly Operation[] = [
  'ListObjectsV2',
  'ListMultipartUploads',
  'ListParts',
  'CopyObject',
  'UploadPartCopy',
  'CreateMultipartUpload',
  'CompleteMultipartUpload',
  'DeleteObjects',
  'GetObjectTagging',
];
const HAS_BODY: readonly Operation[] = ['GetObject', 'PutObject', 'UploadPart'];

const MAKES_SENSE: Partial<Readonly<Record<FaultKind, readonly Operation[]>>> = {
  error200: ANSWERS_LATE,
  cut: ANSWERS_XML,
  altered: WRITES,
  missing: WRITES,
  undone: ['CopyObject'],
  corrupt: HAS_BODY,
  stall: HAS_BODY,
};

function keyMatches(pattern: string | RegExp | undefined, key: string): boolean {
  if (pattern === undefined) return true;
  if (pattern instanceof RegExp) return pattern.test(key);
  const atStart = pattern.startsWith('^');
  const atEnd = pattern.endsWith('$');
  const text = pattern.slice(atStart ? 1 : 0, atEnd ? -1 : undefined);
  if (atStart && atEnd) return key === text;
  if (atStart) return key.startsWith(text);
  return atEnd ? key.endsWith(text) : key.includes(text);
}

export class Faults {
  #active: { rule: FaultRule; matches: number; hits: number }[] = [];
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  get active(): readonly ActiveFault[] {
    return this.#active;
  }

  add(...rules: readonly FaultRule[]): void {
    for (const rule of rules) this.#active.push({ rule, matches: 0, hits: 0 });
  }

  clear(): void {
    this.#active = [];
  }

  /** The first fault that matches and strikes; counts it. `kinds` limits the search. */
  strike(operation: Operation, key: string, kinds?: readonly FaultKind[]): FaultRule | undefined {
    for (const fault of this.#active) {
      const { rule } = fault;
      if (kinds && !kinds.includes(rule.kind)) continue;
      if (rule.operation !== undefined && rule.operation !== operation && rule.operation !== OPERATIONS[operation])
        continue;
      if (MAKES_SENSE[rule.kind] && !MAKES_SENSE[rule.kind]!.includes(operation)) continue;
      if (!keyMatches(rule.key, key)) continue;
      fault.matches++;
      if (fault.matches <= (rule.after ?? 0)) continue;
      if (rule.count !== undefined && fault.hits >= rule.count) continue;
      if (rule.probability !== undefined && this.#random() >= rule.probability) continue;
      fault.hits++;
      return rule;
    }
    return undefined;
  }
}

/** Where in a body of `size` bytes the fault strikes. */
export function strikePosition(rule: FaultRule, size: number): number {
  const at = rule.at ?? 0.5;
  return Math.min(size, at <= 1 ? Math.floor(size * at) : at);
}

/** `250ms`, `5s`, `1m` or a plain number of ms. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (!match) throw new Error(`'${text}' is no duration: write 250ms, 5s or 1m`);
  return Number(match[1]) * (match[2] === 's' ? 1000 : match[2] === 'm' ? 60_000 : 1);
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1e3,
  KB: 1e3,
  KiB: 1024,
  M: 1e6,
  MB: 1e6,
  MiB: 1024 ** 2,
  G: 1e9,
  GB: 1e9,
  GiB: 1024 ** 3,
  T: 1e12,
  TB: 1e12,
  TiB: 1024 ** 4,
};

/** `90MB`, `64MiB`, `5TiB` or a plain number of bytes. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const unit = match && UNITS[match[2]!];
  if (!match || !unit) throw new Error(`'${text}' is no size: write 512, 90MB or 64MiB`);
  return Math.round(Number(match[1]) * unit);
}

/** Reads the text form described above. Throws `Error` with a sentence for people. */
export function parseFaults(text: string): FaultRule[] {
  return text
    .split(';')
    .filter(one => one.trim() !== '')
    .map(one => {
      const colon = one.indexOf(':');
      const head = (colon < 0 ? one : one.slice(0, colon)).trim();
      const [name = '', value] = head.split('=', 2);
      const kind = FAULT_KINDS.find(known => known === name);
      if (!kind) throw new Error(`'${name}' is no fault; known are ${FAULT_KINDS.join(', ')}`);
      const rule: { -readonly [K in keyof FaultRule]: FaultRule[K] } = { kind };
      if (value !== undefined) {
        if (kind === 'status') rule.status = Number(value);
        else if (kind === 'stall' || kind === 'slow') rule.ms = parseDuration(value);
        else rule.at = Number(value);
      }
      for (const option of colon < 0 ? [] : one.slice(colon + 1).split(',')) {
        const equals = option.indexOf('=');
        const text = option.slice(equals + 1);
        const known = option.slice(0, equals).trim();
        if (known === 'op') rule.operation = text;
        else if (known === 'key') rule.key = decodeURIComponent(text);
        else if (known === 'n') rule.count = Number(text);
        else if (known === 'after') rule.after = Number(text);
        else if (known === 'p') rule.probability = Number(text);
        else if (known === 'code') rule.code = text;
        else if (known === 'at') rule.at = /^\d*\.\d+$/.test(text) ? Number(text) : parseBytes(text);
        else throw new Error(`'${option}' is no option of a fault; known are op, key, n, after, p, at, code`);
      }
      return rule;
    });
}
