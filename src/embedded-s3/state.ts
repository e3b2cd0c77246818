/** What the server holds: buckets, objects with their versions, open uploads. Keys are byte strings. */
import type { Checksum, ChecksumAlgorithm, ChecksumType } from './checksums.ts';
import type { Content } from './content.ts';
import { ObjectIndex } from './object-index.ts';

export type Pairs = readonly (readonly [string, string])[];

/** What is kept beside an object's bytes. Shared by all objects of a fill. */
export interface ObjectAttributes {
  /** Content headers as they came: `content-type`, `cache-control` … */
  readonly headers: Pairs;
  /** Names in lower case without `x-amz-meta-`. */
  readonly metadata: Pairs;
  readonly storageClass: string;
  /** Encryption headers of answers. */
  readonly encryption: Pairs;
  /** SSE-C: base64 MD5 of the customer's key. */
  readonly customerKeyMd5?: string | undefined;
  readonly acl: string;
  readonly tags: Pairs;
  /** A restored copy of an archived object lasts until then, ms since the epoch. */
  readonly restoredUntil?: number | undefined;
  /** The restored copy is being made until then, ms since the epoch. */
  readonly restoringUntil?: number | undefined;
  /** `x-amz-archive-status` of INTELLIGENT_TIERING. */
  readonly archiveStatus?: string | undefined;
}

export const PLAIN_ATTRIBUTES: ObjectAttributes = {
  headers: [],
  metadata: [],
  storageClass: 'STANDARD',
  encryption: [['x-amz-server-side-encryption', 'AES256']],
  acl: 'private',
  tags: [],
};

export interface ObjectPart {
  readonly number: number;
  readonly size: number;
  readonly checksum: string | undefined;
}

/** One version of an object, or a delete marker. Never changed, only replaced. */
export interface StoredObject {
  readonly key: string;
  readonly content: Content;
  /** Without quotes. */
  readonly etag: string;
  /** ms since the epoch, whole seconds. */
  readonly lastModified: number;
  readonly attributes: ObjectAttributes;
  readonly checksum: Checksum | undefined;
  /** Of a multipart object. */
  readonly parts: readonly ObjectPart[] | undefined;
  readonly versionId: string | undefined;
  readonly deleteMarker: boolean;
  /** The next older version. */
  readonly previous: StoredObject | undefined;
}

export interface UploadedPart {
  readonly number: number;
  readonly content: Content;
  readonly etag: string;
  readonly lastModified: number;
  readonly checksum: Checksum | undefined;
}

export interface Upload {
  /** A byte string; uploads are listed in its order, then by id. */
  readonly key: string;
  readonly id: string;
  readonly initiated: number;
  readonly attributes: ObjectAttributes;
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined;
  readonly checksumType: ChecksumType | undefined;
  readonly parts: Map<number, UploadedPart>;
}

export class Bucket {
  readonly name: string;
  readonly region: string;
  readonly created: number;
  /** The newest version of each key, delete markers too. */
  readonly objects = new ObjectIndex<StoredObject>();
  readonly uploads = new Map<string, Upload>();
  versioning: 'Enabled' | 'Suspended' | undefined;
  /** The XML text as it was put; kept, not acted on. */
  lifecycle: string | undefined;
  /** The JSON text as it was put. */
  policy: string | undefined;
  acl = 'private';

  constructor(name: string, region: string, created: number) {
    this.name = name;
    this.region = region;
    this.created = created;
  }

  /** The object under `key`; a delete marker is none. */
  current(key: string): StoredObject | undefined {
    const newest = this.objects.get(key);
    return newest?.deleteMarker ? undefined : newest;
  }

  version(key: string, versionId: string): StoredObject | undefined {
    let version = this.objects.get(key);
    while (version !== undefined && (version.versionId ?? 'null') !== versionId) version = version.previous;
    return version;
  }

  /** Makes `object` the newest version of its key, `versionId` as the bucket's versioning demands. */
  store(object: StoredObject, newVersionId: () => string): StoredObject {
    const previous = this.objects.get(object.key);
    let stored = object;
    if (this.versioning === 'Enabled') stored = { ...object, versionId: newVersionId(), previous };
    else if (this.versioning === 'Suspended') {
      stored = { ...object, versionId: 'null', previous: without(previous, 'null') };
    }
    this.objects.set(stored);
    return stored;
  }

  /** Puts `changed` in the place of the version with its id: tags, ACL and restores make no new version. */
  replace(changed: StoredObject): void {
    const id = changed.versionId ?? 'null';
    const put = (version: StoredObject | undefined): StoredObject | undefined => {
      if (version === undefined) return undefined;
      if ((version.versionId ?? 'null') === id) return { ...changed, previous: version.previous };
      return { ...version, previous: put(version.previous) };
    };
    const newest = put(this.objects.get(changed.key));
    if (newest) this.objects.set(newest);
  }

  /** Removes one version for good. */
  removeVersion(key: string, versionId: string): void {
    const rest = without(this.objects.get(key), versionId);
    if (rest) this.objects.set(rest);
    else this.objects.delete(key);
  }
}

function without(version: StoredObject | undefined, versionId: string): StoredObject | undefined {
  if (version === undefined) return undefined;
  if ((version.versionId ?? 'null') === versionId) return version.previous;
  const previous = without(version.previous, versionId);
  return previous === version.previous ? version : { ...version, previous };
}
