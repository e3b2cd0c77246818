/**
 * What comes from outside, at random: no crash, no hang, no line that a terminal would take for an order.
 * `S3MOUNT_FUZZ_RUNS=1000000 npx tap --timeout=0 test/unit/fuzz.test.ts` for a soak.
 */
import fc from 'fast-check';
import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { CliError, errorLine } from '../../src/cli/exit-codes.ts';
import { OPTION_NAMES, OPTION_OF_WORD } from '../../src/cli/option-table.ts';
import { formatOptionList, parseOptionList } from '../../src/cli/option-words.ts';
import { readConfig } from '../../src/cli/options.ts';
import { parsePasswd } from '../../src/cli/passwd-file.ts';
import { FsError, StoreError } from '../../src/errors.ts';
import { decodePosix } from '../../src/fs/posix.ts';
import { readErrorBody } from '../../src/s3/error-kinds.ts';
import { HttpError, parseResponseHead } from '../../src/s3/http-message.ts';
import { parseListing } from '../../src/s3/listing.ts';
import { objectInfo } from '../../src/s3/object-headers.ts';
import { XmlError } from '../../src/s3/xml.ts';
import { makeFileSystem } from '../support/filesystem.ts';

const RUNS = Number(process.env['S3MOUNT_FUZZ_RUNS'] ?? 500);
const runs = { numRuns: RUNS };
/** A whole filesystem for each, some 20 ms: a million would take six hours. */
const buckets = { numRuns: Math.max(50, Math.ceil(RUNS / 50)) };

/** Runs `work`; only errors of these classes may come out of it. */
function only(classes: readonly (new (...args: never[]) => Error)[], work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!classes.some(each => error instanceof each)) throw error;
    if (error instanceof CliError && /[\x00-\x1f\x7f\u202e]/.test(errorLine(error))) throw new Error('an order');
  }
}

const nasty = fc.string({
  unit: fc.oneof(
    fc.constantFrom(',', '=', ':', '/', '\\', '"', "'", '-', ' ', '\n', '\0', '\x1b', '\u202e', '.', '%'),
    fc.string({ minLength: 1, maxLength: 3 }),
  ),
  maxLength: 30,
});
const word = fc.oneof(fc.constantFrom(...OPTION_OF_WORD.keys(), ...OPTION_NAMES), nasty);
const list = fc
  .array(fc.tuple(word, fc.option(nasty)), { maxLength: 6 })
  .map(pairs => pairs.map(([name, value]) => (value === null ? name : `${name}=${value}`)).join(','));

t.test('options and command lines', async () => {
  const where = { env: {}, cwd: '/w', account: () => undefined };
  fc.assert(
    fc.property(list, nasty, (text, place) => {
      only([CliError], () => {
        const words = parseOptionList(text);
        parseOptionList(formatOptionList(words));
        readConfig({ positional: [place, '/m'], words }, where);
      });
    }),
    runs,
  );
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          word,
          word.map(each => `--${each}`),
          list.map(each => `-o${each}`),
        ),
        { maxLength: 5 },
      ),
      args => {
        only([CliError], () => readCommandLine(args));
      },
    ),
    { numRuns: Math.ceil(RUNS / 5) },
  );
});

t.test('credential files: what stands in them is in no message', async () => {
  fc.assert(
    fc.property(fc.array(nasty, { maxLength: 5 }), lines => {
      only([CliError], () => parsePasswd(lines.join('\n'), '/etc/passwd-s3fs').get('bucket'));
      try {
        parsePasswd(['SECRETKEY', ...lines].join('\n'), 'file');
      } catch (error) {
        if ((error as Error).message.includes('SECRETKEY')) throw new Error('told');
      }
    }),
    runs,
  );
});

t.test('metadata of objects, and heads of answers', async () => {
  const name = fc.constantFrom(
    'mode',
    'uid',
    'gid',
    'mtime',
    'ctime',
    'atime',
    'xattr',
    'rdev',
    'file-mtime',
    'file-permissions',
    '__proto__',
  );
  const value = fc.oneof(
    nasty,
    fc.bigInt().map(String),
    fc.constantFrom('-1', '1e999', 'NaN', '99999999999999999999', '-0.5', '{"a":1}'),
  );
  fc.assert(
    fc.property(fc.dictionary(name, value), metadata => {
      const posix = decodePosix(metadata);
      for (const [field, number] of Object.entries(posix)) {
        if (typeof number === 'number' && !Number.isFinite(number)) throw new Error(field);
      }
    }),
    runs,
  );
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.constantFrom(
          'etag',
          'last-modified',
          'content-length',
          'date',
          'x-amz-meta-mode',
          'x-amz-tagging-count',
          'x-amz-meta-__proto__',
        ),
        value,
      ),
      headers => {
        only([StoreError], () => objectInfo('key', 1, new Map(Object.entries(headers)), 0));
        const lines = Object.entries(headers).map(([header, text]) => `${header}: ${text}`);
        only([HttpError], () => parseResponseHead(['HTTP/1.1 200 OK', ...lines].join('\r\n'), 'GET'));
      },
    ),
    runs,
  );
});

t.test('XML: bombs, depth, junk', async t => {
  const began = performance.now();
  const bombs = [
    `<!DOCTYPE x [<!ENTITY a "${'a'.repeat(1000)}"><!ENTITY b "${'&a;'.repeat(1000)}">]><ListBucketResult>&b;</ListBucketResult>`,
    `<ListBucketResult>${'<a>'.repeat(200_000)}</ListBucketResult>`,
    `<ListBucketResult>${'<Contents>'.repeat(100_000)}`,
    `<ListBucketResult ${'a="b" '.repeat(100_000)}/>`,
    `<ListBucketResult>${'&#x41;'.repeat(100_000)}</ListBucketResult>`,
    `<ListBucketResult><Contents><Key>${'&amp;'.repeat(50_000)}</Key><Size>1</Size></Contents></ListBucketResult>`,
    `<Error>${'<Code>'.repeat(100_000)}</Error>`,
    '<'.repeat(1_000_000),
  ];
  for (const bomb of bombs) {
    only([XmlError], () => parseListing(Buffer.from(bomb), ''));
    readErrorBody(Buffer.from(bomb));
  }
  t.ok(performance.now() - began < 10_000, 'in linear time');
  const piece = fc.oneof(
    fc.constantFrom(
      '<ListBucketResult>',
      '</ListBucketResult>',
      '<Contents>',
      '</Contents>',
      '<Key>',
      '</Key>',
      '<Size>',
      '</Size>',
      '-5',
      '&lt;',
      '&#0;',
      '&#x110000;',
      '<![CDATA[',
      ']]>',
      '<!--',
      '-->',
      '<?xml?>',
      '99999999999999999999',
    ),
    nasty,
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 25 }), pieces => {
      only([XmlError], () => {
        const { objects } = parseListing(Buffer.from(pieces.join('')), '');
        for (const { size } of objects) if (!Number.isSafeInteger(size) || size < 0) throw new Error(`size ${size}`);
      });
      readErrorBody(Buffer.from(pieces.join('')));
    }),
    runs,
  );
});

t.test('a hostile bucket: listed, read, deleted, and nothing of it where it does not belong', async t => {
  const key = fc.oneof(
    fc
      .array(
        fc.constantFrom(
          'a',
          '..',
          '.',
          '',
          '\n',
          '\x1b[2J',
          '\0',
          '\u202e',
          'x'.repeat(300),
          '_s3mount',
          '_conflict.h.20260101T000000Z.a',
        ),
        { minLength: 1, maxLength: 4 },
      )
      .map(parts => parts.join('/')),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
  );
  const metadata = fc.dictionary(
    fc.constantFrom('mode', 'uid', 'mtime', 'xattr'),
    fc.constantFrom('-1', '41471', '999999999999', '-9e99', 'x', '33188', '16877'),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(key, metadata), { maxLength: 8 }), async objects => {
      const { kernel, store } = makeFileSystem();
      for (const [name, stored] of objects) {
        if (Buffer.byteLength(name) <= 1024) store.putForeign(name, 'bytes', { metadata: stored });
      }
      const seen = new Set<string>();
      const visit = async (path: string, depth: number): Promise<void> => {
        for (const { name } of await kernel.readdir(path || '/', { plus: true })) {
          if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
            throw new Error(`a name ${JSON.stringify(name)}`);
          if (Buffer.byteLength(name) > 255) throw new Error('a long name');
          const below = `${path}/${name}`;
          if (seen.has(below)) throw new Error(`${JSON.stringify(below)} twice`);
          seen.add(below);
          const { mode, size } = await kernel.stat(below);
          if (!Number.isSafeInteger(size) || size < 0) throw new Error(`size ${size}`);
          if ((mode & 0o170000) === 0o040000 && depth < 6) await visit(below, depth + 1);
          else if ((mode & 0o170000) === 0o100000) await kernel.readFile(below);
        }
      };
      try {
        await visit('', 0);
      } catch (error) {
        if (!(error instanceof FsError) && !(error instanceof StoreError)) throw error;
        throw new Error(`${error.message} for ${JSON.stringify(objects)}`);
      }
    }),
    buckets,
  );
  t.pass();
});
