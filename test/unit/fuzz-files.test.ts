/**
 * Files and messages that somebody may have damaged or made up: the cache on disk, the index, the configuration, run files,
 * what comes over the control socket. As `fuzz.test.ts`: `S3MOUNT_FUZZ_RUNS=1000000 npx tap --timeout=0 …` for a soak.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  decodeEntries,
  decodeHead,
  decodeRecord,
  encodeEntry,
  encodeHead,
  type TierEntry,
} from '../../src/cache/tier-format.ts';
import { readConfigFile } from '../../src/cli/config-file.ts';
import { BadRequest, parseReply, parseRequest } from '../../src/cli/control-protocol.ts';
import { CliError, errorLine } from '../../src/cli/exit-codes.ts';
import { allowingOthers, allowsOthers } from '../../src/cli/fuse-conf.ts';
import { RunFile } from '../../src/cli/run-file.ts';
import { decodeSegment, encodeSegment } from '../../src/fs/index-segment.ts';

const RUNS = Number(process.env['S3MOUNT_FUZZ_RUNS'] ?? 500);
const runs = { numRuns: RUNS };
/** Files are written for each. */
const fewer = { numRuns: Math.ceil(RUNS / 5) };

t.test('the cache on disk: any bytes, and entries with one bit changed', async () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(bytes, fc.nat(100), bytes, (list, at, name) => {
      const buffer = Buffer.from(list);
      decodeHead(buffer);
      const end = decodeEntries(buffer, Math.min(at, buffer.length), () => {});
      if (end > Math.max(buffer.length, at)) throw new Error('read beyond the end');
      if (buffer.length >= 32) decodeRecord(buffer, 0, Buffer.alloc(16, name[0] ?? 0), at, name.length);
    }),
    runs,
  );
  const whole = Buffer.concat([
    encodeHead(Buffer.alloc(16, 7), 1e12),
    encodeEntry({ kind: 'block', name: Buffer.alloc(16, 1), index: 3, length: 4, at: 5 }),
    encodeEntry({ kind: 'alias', name: Buffer.alloc(16, 2), of: Buffer.alloc(16, 3) }),
  ]);
  const start = encodeHead(Buffer.alloc(16), 0).length;
  fc.assert(
    fc.property(fc.integer({ min: start * 8, max: whole.length * 8 - 1 }), bit => {
      const damaged = Buffer.from(whole);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const found: TierEntry[] = [];
      decodeEntries(damaged, start, entry => found.push(entry));
      if (found.length > 1) throw new Error('a damaged entry was believed');
    }),
    runs,
  );
});

t.test('the index: any bytes, and any JSON with the right checksum', async t => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async bytes => {
      if (await decodeSegment(Buffer.from(bytes), '')) throw new Error('believed');
    }),
    fewer,
  );
  const known = { etag: '"e"', size: 1, lastModified: 1, description: { metadata: {} } };
  const good = { directory: 'd/', rows: new Map([['a', known]]), splits: [] } as never;
  t.ok(await decodeSegment(await encodeSegment(good), 'd/'));
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (splits, description) => {
      const made = { directory: 'd/', rows: new Map([['a', { ...known, description }]]), splits } as never;
      const found = await decodeSegment(await encodeSegment(made).catch(() => Buffer.alloc(0)), 'd/');
      if (!found) return;
      for (const [first, number] of found.splits)
        if (typeof first !== 'string' || typeof number !== 'number') throw new Error('splits');
      for (const row of found.rows.values())
        if (typeof row.description !== 'object' || row.description === null) throw new Error('description');
    }),
    fewer,
  );
});

t.test('a configuration file: a table, or one sentence', async t => {
  const path = join(t.testdir(), 'a.toml');
  const line = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 30 }),
    fc
      .tuple(
        fc.constantFrom('umask', 'bucket', 'memory', 'secret_key', 'config', '[a', 'url'),
        fc.constantFrom(' = ', '=', ''),
        fc.json(),
      )
      .map(words => words.join('')),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), lines => {
      writeFileSync(path, lines.join('\n'), { mode: 0o600 });
      try {
        readConfigFile(path);
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(errorLine(error))) throw new Error('more than a line');
      }
    }),
    fewer,
  );
});

t.test('the control socket and run files', async t => {
  const state = t.testdir();
  const { socket } = RunFile.announce(state, '/mnt');
  const word = fc.constantFrom('status', 'why', 'flush', 'warm', '', '__proto__');
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.json(),
    fc
      .record(
        {
          do: word,
          path: fc.jsonValue(),
          pid: fc.jsonValue(),
          mountPoint: fc.jsonValue(),
          result: fc.jsonValue(),
          error: fc.jsonValue(),
          progress: fc.jsonValue(),
        },
        { requiredKeys: [] },
      )
      .map(value => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(text, line => {
      try {
        parseRequest(line);
      } catch (error) {
        if (!(error instanceof BadRequest)) throw error;
      }
      try {
        parseReply(line);
      } catch (error) {
        // Whoever asked says that this is no daemon of ours: any error, but no crash later on.
        if (!(error instanceof Error)) throw error;
      }
      if (allowsOthers(line) !== (allowingOthers(line) === line)) throw new Error('fuse.conf');
      if (!allowsOthers(allowingOthers(line))) throw new Error('fuse.conf: not there');
    }),
    runs,
  );
  fc.assert(
    fc.property(text, line => {
      writeFileSync(socket.replace(/sock$/, 'json'), line);
      new RunFile(state, '/mnt').read();
      RunFile.allIn(state);
    }),
    fewer,
  );
});
