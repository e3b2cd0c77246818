/** Fills a bucket without requests: one object of any size, or many with one body, all out of the generator. */
import { createHash } from 'node:crypto';
import { fromByteString, toByteString } from './byte-string.ts';
import type { World } from './call.ts';
import { Content } from './content.ts';
import { type Bucket, type ObjectAttributes, type ObjectPart, PLAIN_ATTRIBUTES } from './state.ts';

export interface Fill {
  /** One object under this key; or else many under `prefix`. */
  readonly key?: string;
  readonly prefix?: string;
  /** How many; they are called `f00000000` …, after `prefix`. */
  readonly count?: number;
  /** No directory gets more than so many entries: the number in base `fan`, such as `d07/d42/f13`. */
  readonly fan?: number;
  /** The first number. */
  readonly start?: number;
  readonly suffix?: string;
  /** Bytes of each object. */
  readonly size: number;
  readonly seed?: number;
  /** The object came in parts of this size; default 8 MiB, more where 10,000 parts are too few. */
  readonly partSize?: number;
  readonly contentType?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** ms since the epoch; default now. */
  readonly lastModified?: number;
}

const DEFAULT_PART = 8 * 1024 * 1024;
const MAX_PARTS = 10_000;

/** Digits of `number` in base `fan`, the last one being the file's. */
function fannedName(number: number, fan: number, levels: number, width: number): string {
  const digits: string[] = [];
  let rest = number;
  for (let level = 0; level < levels; level++) {
    digits.unshift(`${level === 0 ? 'f' : 'd'}${String(rest % fan).padStart(width, '0')}`);
    rest = Math.floor(rest / fan);
  }
  return digits.join('/');
}

export function fillBucket(world: World, bucket: Bucket, fill: Fill): number {
  const seed = fill.seed ?? 0;
  const content = Content.generated(seed, fill.size);
  const attributes: ObjectAttributes = {
    ...PLAIN_ATTRIBUTES,
    headers: fill.contentType === undefined ? [] : [['content-type', fill.contentType]],
    metadata: Object.entries(fill.metadata ?? {}).map(([name, value]) => [name.toLowerCase(), toByteString(value)]),
  };
  const partSize = Math.max(fill.partSize ?? DEFAULT_PART, Math.ceil(fill.size / MAX_PARTS));
  const partCount = fill.size > partSize ? Math.ceil(fill.size / partSize) : 0;
  const parts: ObjectPart[] | undefined =
    partCount === 0
      ? undefined
      : Array.from({ length: partCount }, (_, i) => ({
          number: i + 1,
          size: Math.min(partSize, fill.size - i * partSize),
          checksum: undefined,
        }));
  const digest = createHash('md5')
    .update(fill.size === 0 ? '' : `generated ${seed} ${fill.size}`)
    .digest('hex');
  const common = {
    content,
    // No MD5 of these bytes was ever made, so no ETag here may look like one.
    etag: fill.size === 0 ? digest : `${digest}-${Math.max(1, partCount)}`,
    lastModified: Math.floor((fill.lastModified ?? world.clock.now()) / 1000) * 1000,
    attributes,
    checksum: undefined,
    parts,
    versionId: undefined,
    deleteMarker: false,
    previous: undefined,
  };
  const put = (key: string): void => {
    bucket.store({ key, ...common }, () => world.newVersionId());
    world.keep(keeper => keeper.changed(bucket, fromByteString(key)));
  };
  if (fill.key !== undefined) {
    put(toByteString(fill.key));
    return 1;
  }
  const count = fill.count ?? 1;
  const start = fill.start ?? 0;
  const prefix = toByteString(fill.prefix ?? '');
  const suffix = toByteString(fill.suffix ?? '');
  const fan = fill.fan ?? 0;
  const levels = fan > 1 ? Math.max(1, Math.ceil(Math.log(start + count) / Math.log(fan) - 1e-9)) : 1;
  const width = String(fan - 1).length;
  for (let i = start; i < start + count; i++) {
    const name = fan > 1 ? fannedName(i, fan, levels, width) : `f${String(i).padStart(8, '0')}`;
    put(prefix + name + suffix);
  }
  return count;
}
