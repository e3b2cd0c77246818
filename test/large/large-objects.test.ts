/**
 * Objects up to the size that S3 takes, on a real mount: what changes a little of them moves little, each change costs the
 * requests that the planners say, and every byte is where it belongs afterwards. The server holds them as extents over a
 * generator, so that they take no memory.
 */
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  S3Client,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { planCopy } from '../../src/cache/object-copy.ts';
import { RangeSet } from '../../src/cache/ranges.ts';
import { planUpload, UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import { S3_LIMITS } from '../../src/s3/store.ts';
import { ExpectedFile } from '../support/large-object.ts';
import { aMount, BUCKET, eventually, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';
import { renameat2 } from '../support/syscalls.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** What a change should cost. */
interface Figure {
  readonly copies: number;
  readonly parts: number;
  /** Bytes of the parts sent. */
  readonly sent: number;
  /** Bytes of stored ones among these: S3 takes no part below 5 MiB, so they come here and go back. */
  readonly fetched: number;
  /** Where parts meet. */
  readonly seams: readonly number[];
}

function ofSave(size: number, changed: readonly (readonly [number, number])[]): Figure {
  const plan = planUpload({
    size,
    changed: RangeSet.of(...changed),
    sent: [],
    limits: S3_LIMITS,
    sizes: UPLOAD_SIZES,
  });
  if (plan?.kind !== 'multipart') throw new Error('an object that is not to be sent in parts');
  const sends = plan.parts.filter(part => part.from === 'send');
  const sent = sends.reduce((sum, part) => sum + part.size, 0);
  return {
    copies: plan.parts.length - sends.length,
    parts: sends.length,
    sent,
    fetched: sent - changed.reduce((sum, [start, end]) => sum + end - start, 0),
    seams: plan.parts.slice(1).map(part => part.offset),
  };
}

function ofCopy(size: number): Figure {
  const plan = planCopy(size, S3_LIMITS);
  return { copies: plan.length, parts: 0, sent: 0, fetched: 0, seams: plan.slice(1).map(part => part.offset) };
}

/** Bytes beside those of parts: a line of the completion for each part there, an answer for each copy back. */
const LINE = 160;
const ANSWER = 400;
/** What an open's check, a look at the directory and the first block of the file may cost. */
const BESIDE = 300 * KIB;

interface Row {
  readonly object: string;
  readonly change: string;
  readonly requests: Readonly<Record<string, number>>;
  readonly sent: number;
  readonly received: number;
  readonly seconds: number;
}

class LargeFile {
  readonly name: string;
  readonly expected: ExpectedFile;
  readonly mount: RealMount;
  readonly rows: Row[] = [];
  /** Of each change in turn. */
  readonly seams: (readonly number[])[] = [];
  /** Where something was written or cut. */
  readonly places: number[] = [];
  /** It lies in a directory of its own. */
  path: string;

  constructor(mount: RealMount, name: string, seed: number, size: number) {
    this.mount = mount;
    this.name = name;
    this.path = mount.path(name, 'object');
    this.expected = new ExpectedFile(seed, size);
  }

  /** Makes one change and compares what it cost with `figure`. */
  async costs(t: Test, change: string, figure: Figure, work: () => void): Promise<void> {
    const { s3 } = this.mount;
    await s3.reset();
    const start = performance.now();
    work();
    const seconds = (performance.now() - start) / 1000;
    const { requests, bytesIn, bytesOut } = await s3.stats();
    this.rows.push({ object: this.name, change, requests, sent: bytesIn, received: bytesOut, seconds });
    this.seams.push(figure.seams);
    const { UploadPartCopy = 0, UploadPart = 0, CreateMultipartUpload, CompleteMultipartUpload } = requests;
    const { PutObject = 0, GetObject = 0, HeadObject = 0, ListObjectsV2 = 0 } = requests;
    t.same(
      { UploadPartCopy, UploadPart, CreateMultipartUpload, CompleteMultipartUpload, PutObject },
      {
        UploadPartCopy: figure.copies,
        UploadPart: figure.parts,
        CreateMultipartUpload: 1,
        CompleteMultipartUpload: 1,
        PutObject: 0,
      },
      `${change}: the requests that were planned`,
    );
    // Attributes and listings hold 10 s: on a busy machine they may be asked for again.
    t.ok(GetObject + HeadObject + ListObjectsV2 <= 8, `${change}: few others, ${JSON.stringify(requests)}`);
    const mostSent = figure.sent + LINE * (figure.copies + figure.parts + 1);
    t.ok(bytesIn >= figure.sent && bytesIn <= mostSent + BESIDE, `${change}: ${bytesIn} bytes sent`);
    const mostReceived = figure.fetched + ANSWER * (figure.copies + 20) + BESIDE;
    t.ok(bytesOut <= mostReceived, `${change}: ${bytesOut} bytes received`);
    t.equal(statSync(this.path).size, this.expected.size, `${change}: the size`);
  }

  #changed(from: number, to: number): void {
    this.places.push(from, to);
  }

  async append(t: Test): Promise<void> {
    const { size } = this.expected;
    const bytes = patternBytes(KIB, 21);
    await this.costs(t, 'append 1 KiB', ofSave(size + KIB, [[size, size + KIB]]), () => {
      const file = openSync(this.path, 'a');
      writeSync(file, bytes);
      closeSync(file);
      this.expected.write(size, bytes);
    });
    this.#changed(size, size + KIB);
  }

  async patch(t: Test): Promise<void> {
    const { size } = this.expected;
    const place = Math.floor(size / 2 / KIB) * KIB + 512;
    const bytes = patternBytes(4 * KIB, 22);
    await this.costs(t, 'write 4 KiB in the middle', ofSave(size, [[place, place + bytes.length]]), () => {
      const file = openSync(this.path, 'r+');
      writeSync(file, bytes, 0, bytes.length, place);
      closeSync(file);
      this.expected.write(place, bytes);
    });
    this.#changed(place, place + bytes.length);
  }

  async truncate(t: Test, by: number, withHandle: boolean): Promise<void> {
    const before = this.expected.size;
    const after = before + by;
    const what = by < 0 ? 'truncate down' : 'truncate up';
    await this.costs(t, what, ofSave(after, by < 0 ? [] : [[before, after]]), () => {
      if (withHandle) {
        const file = openSync(this.path, 'r+');
        ftruncateSync(file, after);
        closeSync(file);
      } else truncateSync(this.path, after);
      this.expected.truncate(after);
    });
    this.#changed(Math.min(before, after), after);
  }

  async chmod(t: Test): Promise<void> {
    await this.costs(t, 'chmod', ofCopy(this.expected.size), () => {
      chmodSync(this.path, 0o604);
      // The copy goes out a moment later; fsync waits for it.
      const file = openSync(this.path, 'r');
      fsyncSync(file);
      closeSync(file);
    });
    t.equal(statSync(this.path).mode & 0o777, 0o604);
  }

  async rename(t: Test): Promise<void> {
    const to = this.mount.path(this.name, 'renamed');
    await this.costs(t, 'rename', ofCopy(this.expected.size), () => {
      renameSync(this.path, to);
      this.path = to;
    });
    t.same(await this.mount.client.keys(this.name), [`${this.name}/renamed`]);
  }

  async renameDirectory(t: Test): Promise<void> {
    const to = this.mount.path(`${this.name} 폴더`);
    await this.costs(t, 'rename of its directory', ofCopy(this.expected.size), () => {
      renameSync(this.mount.path(this.name), to);
      this.path = this.mount.path(`${this.name} 폴더`, 'renamed');
    });
    t.same(await this.mount.client.keys(this.name), [`${this.name} 폴더/renamed`]);
  }

  /** dd at offsets: a slice out of the middle, and one into it. */
  async slices(t: Test): Promise<void> {
    const { size } = this.expected;
    const block = Math.floor(size / 3 / MIB);
    const out = this.mount.path('slice');
    const { s3, client } = this.mount;
    await s3.reset();
    run('dd', [`if=${this.path}`, `of=${out}`, 'bs=1M', 'count=12', `skip=${block}`, 'status=none']);
    const { bytesIn, bytesOut } = await s3.stats();
    const slice = this.expected.bytes(block * MIB, 12 * MIB);
    t.ok((await client.get('slice'))!.equals(slice), 'a slice copied out of it');
    // Read-ahead trusts who has read so much: up to four times that, in whole requests.
    t.ok(bytesIn < 13 * MIB && bytesOut < 80 * MIB, `${bytesIn} bytes sent, ${bytesOut} received for 12 MiB`);
    const place = 2 * block * MIB;
    await this.costs(t, 'dd 12 MiB into it', ofSave(size, [[place, place + slice.length]]), () => {
      run('dd', [`if=${out}`, `of=${this.path}`, 'bs=1M', `seek=${2 * block}`, 'conv=notrunc', 'status=none']);
      this.expected.write(place, slice);
    });
    this.#changed(place, place + slice.length);
  }

  /** Reads `length` bytes around each place and compares. */
  async compare(t: Test, what: string, places: readonly number[], length: number): Promise<void> {
    const wrong: number[] = [];
    const file = await open(this.path, 'r');
    let next = 0;
    const reader = async (): Promise<void> => {
      const into = Buffer.alloc(length);
      while (next < places.length) {
        const offset = Math.max(0, places[next++]! - length / 2);
        const { bytesRead } = await file.read(into, 0, length, offset);
        if (!into.subarray(0, bytesRead).equals(this.expected.bytes(offset, length))) wrong.push(offset);
      }
    };
    const start = performance.now();
    await Promise.all(Array.from({ length: 8 }, reader));
    await file.close();
    t.same(wrong.slice(0, 10), [], `${this.name}: ${what}, ${places.length} places`);
    t.comment(`${this.name}: ${what} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ object, change, requests, sent, received, seconds }) => {
    const { UploadPartCopy = 0, UploadPart = 0, ...others } = requests;
    const rest = Object.values(others).reduce((sum, count) => sum + count, 0);
    return [object, change, UploadPartCopy, UploadPart, rest, sent, received, seconds.toFixed(2)].join(' | ');
  });
  return ['object | change | copies | parts | others | bytes sent | bytes received | s', ...lines].join('\n');
}

/** Random numbers below `limit`, which may be beyond what randomInt takes. */
function randomPlaces(count: number, limit: number): number[] {
  const step = 2 ** 24;
  return Array.from({ length: count }, () => (randomInt(Math.ceil(limit / step)) * step + randomInt(step)) % limit);
}

/** At most `count` of them, by chance. */
function some<T>(all: readonly T[], count: number): T[] {
  if (all.length <= count) return [...all];
  return Array.from({ length: count }, () => all[randomInt(all.length)]!);
}

/** Seams of earlier changes lie within the parts of the later ones: of tens of thousands these are enough. */
const EARLIER_SEAMS = 2000;

const OBJECTS: readonly (readonly [name: string, size: number])[] = [
  ['50 GiB', 50 * GIB],
  ['5 TB', 5_000_000_000_000],
  ['48 TiB', 48 * TIB],
];

t.test('objects of 50 GiB, 5 TB and 48 TiB are changed without moving them', async t => {
  const mount = await aMount(t, {
    // Terabytes are not hashed.
    serverArgs: ['--etag=fast'],
    prepare: async (_client, s3) => {
      for (const [index, [name, size]] of OBJECTS.entries()) {
        await s3!.fill(BUCKET, { key: `${name}/object`, size, seed: index + 2 });
      }
    },
  });
  await warmUp(mount);
  const files = OBJECTS.map(([name, size], index) => new LargeFile(mount, name, index + 2, size));
  for (const file of files) {
    t.equal(statSync(file.path).size, file.expected.size);
    await file.append(t);
    await file.patch(t);
    await file.truncate(t, -3_000_001, true);
    await file.truncate(t, 7_000_003, false);
    if (file === files[0]) await file.slices(t);
    await file.chmod(t);
    await file.rename(t);
    await file.renameDirectory(t);
  }
  const memory = mount.mostMemory();
  t.ok(memory < 512 * MIB, `${Math.round(memory / MIB)} MiB of the daemon at most`);
  t.comment(table(files.flatMap(file => file.rows)));
  t.equal(await mount.client.openUploads(), 0);
  await mount.remount();
  for (const file of files) await readBack(t, file);
});

/** The first changes of each kind also find out what the server keeps to. */
async function warmUp(mount: RealMount): Promise<void> {
  const path = mount.path('first');
  await mount.s3.fill(BUCKET, { key: 'first', size: 80 * MIB });
  truncateSync(path, 79 * MIB);
  renameSync(path, `${path} 2`);
  renameSync(`${path} 2`, path);
  unlinkSync(path);
}

async function readBack(t: Test, file: LargeFile): Promise<void> {
  const { size } = file.expected;
  await file.compare(t, 'what was changed', file.places, 64 * KIB);
  await file.compare(t, 'random', randomPlaces(1000, size), 4 * KIB);
  await file.compare(t, 'seams', [...new Set(file.seams.slice(-1).flat())], 32);
  const earlier = new Set(file.seams.slice(0, -1).flat());
  await file.compare(t, 'earlier seams', some([...earlier], EARLIER_SEAMS), 32);
}

t.test('an open handle follows a large object through all of it, to its end', async t => {
  const size = 50 * GIB;
  const mount = await aMount(t, {
    serverArgs: ['--etag=fast'],
    prepare: (_client, s3) => s3!.fill(BUCKET, { key: 'in/object', size, seed: 12 }),
  });
  await warmUp(mount);
  const file = new LargeFile(mount, 'in', 12, size);
  const handle = openSync(file.path, 'r');
  const same = (what: string): void => {
    const into = Buffer.alloc(64 * KIB);
    for (const offset of [...randomPlaces(20, file.expected.size), file.expected.size - 1000]) {
      const bytes = readSync(handle, into, 0, into.length, offset);
      if (!into.subarray(0, bytes).equals(file.expected.bytes(offset, into.length))) t.fail(`${what}: at ${offset}`);
    }
    t.equal(fstatSync(handle).size, file.expected.size, what);
  };
  await file.append(t);
  same('after an append by another handle');
  await file.rename(t);
  same('after a rename');
  await file.renameDirectory(t);
  same('after a rename of its directory');
  const small = mount.path('small');
  writeFileSync(small, 'small');
  const RENAME_EXCHANGE = 2;
  renameat2(small, file.path, RENAME_EXCHANGE);
  t.equal(readFileSync(file.path, 'utf8'), 'small');
  same('after an exchange with another file');
  unlinkSync(small);
  same('without a name');
  t.match(await mount.client.keys(), [/^_s3mount\/unlinked\//, 'in 폴더/renamed'], 'its bytes are under a hidden key');
  closeSync(handle);
  t.ok(await eventually(async () => (await mount.client.keys()).length === 1), 'until it is closed');
  t.equal(await mount.client.openUploads(), 0);
});

/** What another client has said of an object of theirs. */
const DESCRIBED = {
  ContentType: 'text/x-large',
  CacheControl: 'max-age=17',
  ContentDisposition: 'attachment; filename="large.txt"',
  ContentLanguage: 'ko',
  StorageClass: 'STANDARD_IA',
  ServerSideEncryption: 'AES256',
} as const;
const NOTE = { note: 'kept', 'second-note': 'kept too' };
const TAGS = [
  { Key: 'project', Value: 'works' },
  { Key: '이름', Value: 'a b+c=d' },
];

t.test('what is kept beside the bytes of a large object outlives every change', async t => {
  const size = 200 * MIB;
  const mount = await aMount(t, {
    serverArgs: ['--etag=fast'],
    prepare: (_client, s3) => s3!.fill(BUCKET, { key: 'source', size, seed: 9 }),
  });
  const { access, client } = mount;
  const s3 = new S3Client({
    endpoint: access.url,
    region: access.region,
    credentials: { accessKeyId: access.accessKeyId, secretAccessKey: access.secretAccessKey },
    forcePathStyle: true,
  });
  t.teardown(() => s3.destroy());
  const place = { Bucket: BUCKET, Key: 'in/large' };
  const tagging = TAGS.map(({ Key, Value }) => `${encodeURIComponent(Key)}=${encodeURIComponent(Value)}`).join('&');
  const { UploadId } = await s3.send(
    new CreateMultipartUploadCommand({ ...place, ...DESCRIBED, Metadata: NOTE, Tagging: tagging }),
  );
  const part = { ...place, UploadId, PartNumber: 1, CopySource: `${BUCKET}/source` };
  const { CopyPartResult } = await s3.send(new UploadPartCopyCommand(part));
  const Parts = [{ PartNumber: 1, ETag: CopyPartResult!.ETag! }];
  await s3.send(new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts } }));
  await client.delete('source');

  const described = async (key: string): Promise<object> => {
    const head = await s3.send(new HeadObjectCommand({ Bucket: BUCKET, Key: key }));
    const { TagSet = [] } = await s3.send(new GetObjectTaggingCommand({ Bucket: BUCKET, Key: key }));
    const fields = Object.keys(DESCRIBED).map(name => [name, head[name as keyof typeof DESCRIBED]]);
    const metadata = Object.keys(NOTE).map(name => [name, head.Metadata![name]]);
    const tags = TagSet.sort((a, b) => (a.Key! < b.Key! ? -1 : 1));
    return { ...Object.fromEntries(fields), ...Object.fromEntries(metadata), TagSet: tags };
  };
  const expected = { ...DESCRIBED, ...NOTE, TagSet: TAGS };
  t.same(await described('in/large'), expected, 'as it was made');

  await warmUp(mount);
  const file = new LargeFile(mount, 'in', 9, size);
  file.path = mount.path('in', 'large');
  await file.append(t);
  t.same(await described('in/large'), expected, 'append');
  await file.patch(t);
  t.same(await described('in/large'), expected, 'a write in the middle');
  await file.truncate(t, -70 * MIB, true);
  t.same(await described('in/large'), expected, 'truncate down');
  await file.truncate(t, 3 * MIB, false);
  t.same(await described('in/large'), expected, 'truncate up');
  await file.chmod(t);
  t.same(await described('in/large'), expected, 'chmod');
  utimesSync(file.path, 1_600_000_000, 1_600_000_000.5);
  await file.rename(t);
  t.same(await described('in/renamed'), expected, 'rename, with new times that went along');
  t.equal(statSync(file.path).mtimeMs, 1_600_000_000_500);
  await file.renameDirectory(t);
  t.same(await described('in 폴더/renamed'), expected, 'rename of its directory');
  await mount.remount();
  await readBack(t, file);
  t.equal(statSync(file.path).mtimeMs, 1_600_000_000_500);
  t.equal(statSync(file.path).mode & 0o777, 0o604);
  t.equal(await client.openUploads(), 0);
});
