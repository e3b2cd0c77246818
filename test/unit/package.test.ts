/** What people get: the files of the package, the version that all places agree on, and nothing of the machine it was made on. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly engines: { readonly node: string };
  readonly scripts: Readonly<Record<string, string>>;
};

/** What `npm pack` would take, in the words of npm itself; nothing is built or written. */
function packed(): readonly string[] {
  const { stdout, status, stderr } = spawnSync(
    'npm',
    ['pack', '--dry-run', '--json', '--ignore-scripts', '--offline', '--loglevel=error'],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  const parsed = JSON.parse(stdout) as unknown;
  // npm 11 gives a list of packages, earlier and later ones an object by name.
  const [entry] = Object.values(parsed as Record<string, { files: readonly { path: string }[] }>);
  return entry!.files.map(file => file.path);
}

function tracked(): readonly string[] {
  const { stdout, status } = spawnSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error('git ls-files failed');
  return stdout.split('\0').filter(name => name !== '');
}

t.test('the package holds what it needs to run, and nothing else', async t => {
  const files = packed();
  const wanted = [
    'package.json',
    'bin/s3mount',
    'bin/package.json',
    'dist/main.js',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
    'docs/SEMANTICS.md',
    'docs/OPTIONS.md',
    'docs/s3mount.1',
  ];
  t.same(
    wanted.filter(file => !files.includes(file)),
    [],
    'missing',
  );
  const expected = /^(?:bin|dist|docs)\/|^(?:package\.json|README(?:\.ko)?\.md|LICENSE|CHANGELOG\.md|SECURITY\.md)$/;
  const unwanted = /\.test\.|\.tap|\.npmrc|\.env|credentials|passwd|\.pem$|\.key$/;
  t.same(
    files.filter(file => !expected.test(file) || unwanted.test(file)),
    [],
    'too much',
  );
});

t.test('the version is one', async t => {
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  const newest = /^## (\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)$/m.exec(changelog);
  t.equal(newest?.[1], manifest.version, 'newest of CHANGELOG');
  t.notOk(Number.isNaN(Date.parse(newest?.[2] ?? '')), 'with a date');
});

t.test('the launcher and the package ask for the same Node', async t => {
  t.equal(manifest.engines.node, '>=20.19');
  t.match(readFileSync(join(root, manifest.bin['s3mount']!), 'utf8'), /major === 20 && minor < 19/);
});

t.test('every command that the documents name is there, with its script', async t => {
  const text = ['README.md', 'docs/CONTRIBUTING.md', 'docs/SEMANTICS.md'].map(file =>
    readFileSync(join(root, file), 'utf8'),
  );
  const named = new Set(
    [...text.join('\n').matchAll(/\bnpm (?:run )?(test|(?<=run )[\w-]+)/g)].map(([, name]) => name!),
  );
  t.ok(named.size > 5, [...named].join(' '));
  const isThere = (name: string): boolean => {
    const file = /scripts\/[\w-]+\.mjs/.exec(manifest.scripts[name] ?? '')?.[0];
    return file === undefined ? manifest.scripts[name] !== undefined : existsSync(join(root, file));
  };
  t.same(
    [...named].filter(name => !isThere(name)),
    [],
    'missing',
  );
});

/** Directories of the machines on which this was made, the checkout's own among them; `/home/me` in an example is nobody's. */
const MACHINE = /(?<![\w.~-])\/(?:Users|work|root|private)\/[a-z][\w.-]*\//;
const REGISTRY = /"resolved": "(?!https:\/\/registry\.npmjs\.org\/)|^registry\s*=/m;

t.test('nothing tells of the machine it was made on', async t => {
  t.match('see /work/somewhere/file', MACHINE, 'the search finds one');
  const faults = tracked()
    .filter(file => file !== 'test/unit/package.test.ts' && existsSync(join(root, file)))
    .flatMap(file => {
      const text = readFileSync(join(root, file), 'utf8');
      const path = MACHINE.exec(text)?.[0] ?? (text.includes(root) ? root : undefined);
      return [
        ...(path === undefined ? [] : [`${file}: ${path}`]),
        ...(REGISTRY.test(text) ? [`${file}: a registry of its own`] : []),
      ];
    });
  t.same(faults, []);
});

/** Licences that let a program be passed on with a notice. */
const FREE = /^(?:Apache-2\.0|MIT|ISC|0BSD|BSD-[23]-Clause|BlueOak-1\.0\.0|\(?MIT OR [\w.-]+\)?)$/;

t.test('whatever is passed on may be passed on, and its licence is listed', async t => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly license?: string }>>;
  };
  const shipped = Object.entries(lock.packages).filter(([place, { dev }]) => place !== '' && !dev);
  t.ok(shipped.length > 20);
  t.same(
    shipped
      .filter(([, { license }]) => !FREE.test(license ?? ''))
      .map(([place, { license }]) => `${place}: ${license}`),
    [],
  );
  const { licencesOf } = (await import('../../scripts/licences.mjs' as string)) as {
    licencesOf(inputs: readonly string[], root: string): string;
  };
  const installed = shipped.map(([place]) => place).filter(place => existsSync(join(root, place)));
  const text = licencesOf(
    installed.map(place => `${place}/index.js`),
    root,
  );
  const name = (place: string): string => place.slice(place.lastIndexOf('node_modules/') + 13);
  t.same(
    installed.filter(place => !text.includes(`${name(place)} `)),
    [],
  );
});

t.test(
  'the recipe for a container takes the package that is built, on the suite that the boot test installs it on',
  async t => {
    const recipe = /```dockerfile\n([\s\S]*?)```/.exec(readFileSync(join(root, 'docs/INSTALL.md'), 'utf8'))?.[1] ?? '';
    const suite = /SUITE = '(\w+)'/.exec(readFileSync(join(root, 'test/support/machine.ts'), 'utf8'))?.[1];
    t.match(recipe, `FROM debian:${suite}-slim\n`);
    const file = `s3mount_${manifest.version}_amd64.deb`;
    t.match(recipe, `COPY packages/${file} /tmp/\n`);
    t.match(recipe, `apt-get install -y --no-install-recommends /tmp/${file} `);
    t.match(recipe, 'ENTRYPOINT ["s3mount"]');
  },
);
