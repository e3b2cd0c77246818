/** What docs/ARCHITECTURE.md says of the layers, read off the imports; and the few rules of style that a search can keep. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const source = join(root, 'src');

const LEAVES: ReadonlySet<string> = new Set([
  'errors.ts',
  'concurrency.ts',
  'telemetry.ts',
  'crc.ts',
  'crc32.ts',
  'key-order.ts',
  'second-chance.ts',
]);

/** Folder → what it may import beside itself and the leaves: a folder, or one file of it where only the seam is open. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  cli: ['fuse/', 'fs/', 'cache/', 's3/', 'embedded-s3/'],
  fs: ['cache/', 'fuse/ops.ts', 's3/store.ts'],
  cache: ['fuse/ops.ts', 's3/store.ts'],
  s3: [],
  fuse: [],
  'embedded-s3': [],
};

/** Packages by the only folder that may load them: everything else is written without them. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  s3: [
    '@aws-sdk/client-s3',
    '@aws-sdk/credential-provider-http',
    '@aws-sdk/credential-provider-node',
    '@smithy/core/config',
    '@smithy/credential-provider-imds',
  ],
  fuse: ['koffi'],
  fs: ['lru-cache'],
  cache: ['lru-cache'],
  // koffi: _exit(2), for a process whose pool thread is parked in a read.
  cli: ['pino', 'yargs', 'koffi', 'smol-toml'],
};

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts'))
    .sort();
}

/** All that a file imports, exports from or loads later; a path relative to src/, or a package's name. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), 'utf8');
  const found: Import[] = [];
  const add = (target: string, typeOnly: boolean): void => {
    const to = target.startsWith('.') ? relative(source, resolve(source, dirname(file), target)) : target;
    found.push({ from: file, to, typeOnly });
  };
  for (const [, type, target] of text.matchAll(/^(?:import|export) (type )?[^;'"]*?from '([^']+)'/gms)) {
    add(target!, type !== undefined);
  }
  for (const [, target] of text.matchAll(/\bimport\('([^']+)'\)|^import '([^']+)'/gm)) if (target) add(target, false);
  return found;
}

const files = filesBelow(source);
const imports = files.flatMap(importsOf);

t.test('the search finds what there is', async t => {
  t.ok(files.length > 100, 'files');
  t.ok(imports.length > 500, 'imports');
  t.ok(imports.some(({ from, to, typeOnly }) => from === 'fs/filesystem.ts' && to === 'fuse/ops.ts' && typeOnly));
  t.ok(
    imports.some(({ from, to }) => from === 'cli/main.ts' && to === 'cli/run-daemon.ts'),
    'dynamic imports too',
  );
});

/** Whether the drawing of the layers has an arrow for this import. */
function isAllowed({ from, to }: Import): boolean {
  if (to.startsWith('node:')) return true;
  const folder = from.includes('/') ? from.slice(0, from.indexOf('/')) : undefined;
  if (!to.endsWith('.ts')) return folder !== undefined && (PACKAGES[folder]?.includes(to) ?? false);
  if (LEAVES.has(to)) return true;
  if (folder === undefined) return false;
  const open = [`${folder}/`, ...(ALLOWED[folder] ?? [])];
  return open.some(target => to === target || (target.endsWith('/') && to.startsWith(target)));
}

const asText = ({ from, to }: Import): string => `${from} imports ${to}`;

t.test('imports go down only', async t => {
  t.same(imports.filter(each => !isAllowed(each)).map(asText), []);
  t.notOk(isAllowed({ from: 'cache/a.ts', to: 'fs/b.ts', typeOnly: true }), 'up is refused');
  t.notOk(isAllowed({ from: 'errors.ts', to: 's3/store.ts', typeOnly: true }), 'leaves import nothing but leaves');
  t.notOk(isAllowed({ from: 'fs/a.ts', to: '@aws-sdk/client-s3', typeOnly: false }), 'the SDK is behind the door');
});

t.test('every folder has its place', async t => {
  const folders = new Set(files.filter(file => file.includes('/')).map(file => file.slice(0, file.indexOf('/'))));
  t.same([...folders].sort(), Object.keys(ALLOWED).sort());
  t.same(
    files.filter(file => !file.includes('/')),
    [...LEAVES].sort(),
  );
});

t.test('of the store, the filesystem and the cache know types only', async t => {
  const values = imports.filter(
    ({ from, to, typeOnly }) =>
      to === 's3/store.ts' && !typeOnly && !from.startsWith('s3/') && !from.startsWith('cli/'),
  );
  t.same(values.map(asText), []);
});

t.test('only the command line reads the environment', async t => {
  const readers = files.filter(file => /process\.env\b/.test(readFileSync(join(source, file), 'utf8')));
  t.same(
    readers.filter(file => !file.startsWith('cli/')),
    [],
  );
});

/** Words that name nothing, and marks of what was left undone. */
const FORBIDDEN_NAMES = /^(?:.*-)?(?:manager|helper|helpers|util|utils|impl|misc|common)(?:-.*)?\.ts$/;
const LEFT_UNDONE = new RegExp(['TO', 'DO\\b|FIX', 'ME\\b|@ts-', 'ignore|@ts-', 'nocheck|as an', 'y\\b'].join(''));
/** A file of more lines than this has more than one reason to change. */
const MOST_LINES = 700;

t.test('files are of a size to be read, and finished', async t => {
  const all = [
    ...files.map(file => join('src', file)),
    ...filesBelow(join(root, 'test')).map(file => join('test', file)),
  ];
  const faults = all.flatMap(file => {
    const text = readFileSync(join(root, file), 'utf8');
    const lines = text.split('\n').length;
    return [
      ...(FORBIDDEN_NAMES.test(file.slice(file.lastIndexOf('/') + 1)) ? [`${file}: its name says nothing`] : []),
      ...(LEFT_UNDONE.test(text) ? [`${file}: something is left undone`] : []),
      ...(lines > MOST_LINES ? [`${file}: ${lines} lines`] : []),
    ];
  });
  t.same(faults, []);
});
