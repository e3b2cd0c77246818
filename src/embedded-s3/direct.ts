/** Objects as tests see them: put and read without a request. Text is JavaScript's, not byte strings. */
import { createHash } from 'node:crypto';
import { metadataOf } from './attributes.ts';
import { fromByteString, toByteString } from './byte-string.ts';
import type { World } from './call.ts';
import type { Content } from './content.ts';
import { type Bucket, type ObjectAttributes, PLAIN_ATTRIBUTES, type StoredObject } from './state.ts';

export interface DirectPut {
  /** User metadata without `x-amz-meta-`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Content headers such as `content-type`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
  readonly storageClass?: string;
  readonly archiveStatus?: string;
  readonly acl?: string;
  /** ms since the epoch; default now. */
  readonly lastModified?: number;
  /** Without quotes; default as the server makes them. */
  readonly etag?: string;
}

export interface DirectObject {
  readonly key: string;
  readonly size: number;
  /** With quotes, as S3 tells it. */
  readonly etag: string;
  readonly lastModified: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  readonly storageClass: string;
  readonly versionId: string | undefined;
  /** Sizes of the parts of a multipart object. */
  readonly parts: readonly number[] | undefined;
  /** Bytes `offset` … `offset + length - 1`, by default all. */
  bytes(offset?: number, length?: number): Buffer;
}

const pairsOf = (record: Readonly<Record<string, string>> = {}): [string, string][] =>
  Object.entries(record).map(([name, value]) => [toByteString(name), toByteString(value)]);

const recordOf = (pairs: readonly (readonly [string, string])[]): Record<string, string> =>
  Object.fromEntries(pairs.map(([name, value]) => [fromByteString(name), fromByteString(value)]));

export function directObject(object: StoredObject): DirectObject {
  const { attributes, content } = object;
  return {
    key: fromByteString(object.key),
    size: content.size,
    etag: `"${object.etag}"`,
    lastModified: object.lastModified,
    metadata: recordOf(attributes.metadata),
    headers: recordOf(attributes.headers),
    tags: recordOf(attributes.tags),
    storageClass: attributes.storageClass,
    versionId: object.versionId,
    parts: object.parts?.map(part => part.size),
    bytes(offset = 0, length = content.size - offset) {
      return content.slice(offset, length).toBuffer();
    },
  };
}

export function putDirect(
  world: World,
  bucket: Bucket,
  key: string,
  content: Content,
  put: DirectPut = {},
): DirectObject {
  const attributes: ObjectAttributes = {
    ...PLAIN_ATTRIBUTES,
    headers: pairsOf(put.headers).map(([name, value]) => [name.toLowerCase(), value]),
    metadata: metadataOf(put.metadata ?? {}),
    tags: pairsOf(put.tags),
    storageClass: put.storageClass ?? 'STANDARD',
    archiveStatus: put.archiveStatus,
    acl: put.acl ?? 'private',
  };
  const md5 = (): string => {
    const hash = createHash('md5');
    for (const bytes of content.read()) hash.update(bytes);
    return hash.digest('hex');
  };
  const stored = bucket.store(
    {
      key: toByteString(key),
      content,
      etag: put.etag ?? (world.etags === 'md5' || content.size === 0 ? md5() : world.newEtag()),
      lastModified: put.lastModified ?? world.nowInSeconds(),
      attributes,
      checksum: undefined,
      parts: undefined,
      versionId: undefined,
      deleteMarker: false,
      previous: undefined,
    },
    () => world.newVersionId(),
  );
  world.keep(keeper => keeper.changed(bucket, key));
  return directObject(stored);
}
