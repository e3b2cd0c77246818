/**
 * Keeps buckets in a directory, so that a demo can go on where it ended: `BUCKET/bucket.json`, and for each key
 * `BUCKET/objects/HASH.json` with all versions beside `HASH.N` with the bytes of each. Files appear by rename; a crash
 * leaves the older state. Open uploads are not kept.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Mutex } from '../concurrency.ts';
import { toByteString } from './byte-string.ts';
import type { Keeper, World } from './call.ts';
import { Content, type GeneratedExtent } from './content.ts';
import type { Bucket, StoredObject } from './state.ts';

/** A version as it lies on disk: bytes in a file of their own, or the generator's description. */
type KeptVersion = Omit<StoredObject, 'content' | 'previous' | 'key'> & {
  readonly extents: readonly (GeneratedExtent | { readonly length: number; readonly file: string })[];
};

interface KeptObject {
  readonly key: string;
  /** Newest first. */
  readonly versions: readonly KeptVersion[];
}

async function replaceFile(file: string, data: string | Iterable<Uint8Array>): Promise<void> {
  const temporary = `${file}.new`;
  await writeFile(temporary, typeof data === 'string' ? data : [...data]);
  await rename(temporary, file);
}

const hashOf = (key: string): string => createHash('sha256').update(key, 'latin1').digest('hex').slice(0, 40);

async function keepObject(folder: string, key: string, newest: StoredObject | undefined): Promise<void> {
  const hash = hashOf(key);
  const keep = new Set<string>();
  const versions: KeptVersion[] = [];
  for (let version = newest; version !== undefined; version = version.previous) {
    const { content, previous: _, key: __, ...rest } = version;
    const extents: (GeneratedExtent | { length: number; file: string })[] = [];
    const name = `${hash}.${createHash('sha256').update(`${version.versionId} ${version.etag} ${version.lastModified}`).digest('hex').slice(0, 16)}`;
    for (const [i, extent] of content.extents.entries()) {
      if ('seed' in extent) extents.push(extent);
      else if (i === 0 || 'seed' in content.extents[i - 1]!) {
        const file = `${name}.${i}`;
        const run = content.extents.slice(i);
        const end = run.findIndex(one => 'seed' in one);
        const stored = new Content(end < 0 ? run : run.slice(0, end));
        await replaceFile(path.join(folder, file), stored.read());
        keep.add(file);
        extents.push({ length: stored.size, file });
      }
    }
    versions.push({ ...rest, extents });
  }
  const description = path.join(folder, `${hash}.json`);
  if (newest) await replaceFile(description, JSON.stringify({ key, versions } satisfies KeptObject));
  else await rm(description, { force: true });
  for (const file of await readdir(folder)) {
    if (file.startsWith(`${hash}.`) && !file.endsWith('.json') && !keep.has(file)) await rm(path.join(folder, file));
  }
}

async function readObject(folder: string, file: string): Promise<StoredObject | undefined> {
  const kept = JSON.parse(await readFile(path.join(folder, file), 'utf8')) as KeptObject;
  let newest: StoredObject | undefined;
  for (const { extents, ...version } of [...kept.versions].reverse()) {
    const contents: Content[] = [];
    for (const extent of extents) {
      if ('seed' in extent) contents.push(new Content([extent]));
      else contents.push(Content.of(await readFile(path.join(folder, extent.file))));
    }
    // JSON drops what is undefined: every field is stated, so that all objects have one shape.
    newest = {
      key: kept.key,
      content: Content.concat(contents.length === 0 ? [Content.empty] : contents),
      etag: version.etag,
      lastModified: version.lastModified,
      attributes: version.attributes,
      checksum: version.checksum,
      parts: version.parts,
      versionId: version.versionId,
      deleteMarker: version.deleteMarker,
      previous: newest,
    };
  }
  return newest;
}

/** Reads what the directory holds into `world` and returns what keeps it up to date. */
export async function openDirectory(directory: string, world: World): Promise<Keeper> {
  await mkdir(directory, { recursive: true });
  const folderOf = (name: string): string => path.join(directory, name, 'objects');
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const about = JSON.parse(await readFile(path.join(directory, entry.name, 'bucket.json'), 'utf8')) as Pick<
      Bucket,
      'region' | 'versioning' | 'lifecycle' | 'policy' | 'acl'
    >;
    const bucket = world.addBucket(entry.name, about.region);
    bucket.versioning = about.versioning;
    bucket.lifecycle = about.lifecycle;
    bucket.policy = about.policy;
    bucket.acl = about.acl;
    for (const file of await readdir(folderOf(entry.name))) {
      if (!file.endsWith('.json')) continue;
      const object = await readObject(folderOf(entry.name), file);
      if (object) bucket.objects.set(object);
    }
  }
  // One writer at a time: two changes of one key would tread on each other's files.
  const writing = new Mutex();
  return {
    changed: (bucket, key) =>
      writing.run(() => keepObject(folderOf(bucket.name), toByteString(key), bucket.objects.get(toByteString(key)))),
    bucketChanged: bucket =>
      writing.run(async () => {
        await mkdir(folderOf(bucket.name), { recursive: true });
        const { region, versioning, lifecycle, policy, acl } = bucket;
        await replaceFile(
          path.join(directory, bucket.name, 'bucket.json'),
          JSON.stringify({ region, versioning, lifecycle, policy, acl }),
        );
      }),
    bucketDeleted: name => writing.run(() => rm(path.join(directory, name), { recursive: true, force: true })),
  };
}
