/** A file many times the daemon's memory: written and read back with less than 512 MiB resident. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const SIZE = 3 * GIB;
const PIECE = 4 * MIB;

t.test('3 GiB written and read back', async t => {
  // No MD5 of what is uploaded: it would cost the server, not what is tested, 5 s.
  const mount = await aMount(t, { serverArgs: ['--etag=fast'] });
  const path = mount.path('large');
  const piece = patternBytes(PIECE, 11);
  // Each piece tells its place in its first bytes, so that no two are alike.
  const written = createHash('sha1');
  const writer = openSync(path, 'wx');
  for (let place = 0; place < SIZE; place += PIECE) {
    piece.writeDoubleLE(place, 0);
    written.update(piece);
    for (let done = 0; done < PIECE; done += MIB) writeSync(writer, piece, done, MIB);
  }
  closeSync(writer);
  t.equal((await mount.client.head('large'))!.size, SIZE);
  t.equal(statSync(path).size, SIZE);
  const afterWriting = mount.mostMemory();
  t.ok(afterWriting < 512 * MIB, `${Math.round(afterWriting / MIB)} MiB at most while writing`);
  t.equal(await mount.client.openUploads(), 0);

  await mount.remount();
  const read = createHash('sha1');
  const reader = openSync(path, 'r');
  const into = Buffer.alloc(PIECE);
  for (let place = 0; place < SIZE; ) {
    const got = readSync(reader, into, 0, PIECE, place);
    if (got === 0) break;
    read.update(into.subarray(0, got));
    place += got;
  }
  closeSync(reader);
  t.equal(read.digest('hex'), written.digest('hex'), 'the same bytes');
  const afterReading = mount.mostMemory();
  t.ok(afterReading < 512 * MIB, `${Math.round(afterReading / MIB)} MiB at most while reading`);
});
