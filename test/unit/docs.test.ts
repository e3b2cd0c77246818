/** That the documents are current, their links lead somewhere, and the README stays a README. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { EXIT } from '../../src/cli/exit-codes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

const documents = [
  'README.md',
  'README.ko.md',
  'CHANGELOG.md',
  'SECURITY.md',
  ...readdirSync(join(root, 'docs'))
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
];

t.test('OPTIONS.md, the man page and MESSAGES.md are what the option table and the source say', async t => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), 'scripts/options-doc.mjs', '--check'],
    { cwd: root, encoding: 'utf8' },
  );
  t.equal(`${stdout}${stderr}`, '');
  t.equal(status, 0);
});

t.test('each exit code is explained, and has its messages', async t => {
  const messages = read('docs/MESSAGES.md');
  const options = read('docs/OPTIONS.md');
  for (const [name, code] of Object.entries(EXIT)) {
    t.match(options, new RegExp(`^\\| ${code} \\| [A-Z/]`, 'm'), name);
    // What ends well says nothing, and S3's own words stand in a part of their own.
    if (name !== 'ok' && name !== 'bucket')
      t.match(messages, new RegExp(`^## Exit ${code}\n\n[^\n]+\n\n- `, 'm'), name);
  }
  t.ok([...messages.matchAll(/^- /gm)].length > 150, 'most of them were found');
  for (const said of [
    'which bucket? Write s3mount BUCKET MOUNTPOINT',
    'is not empty (it has',
    'no AWS credentials (',
  ]) {
    t.ok(messages.includes(said), said);
  }
});

/** How a heading becomes an anchor on code hosts. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s-]/gu, '')
    .trim()
    .replace(/\s/g, '-');

t.test('links lead somewhere', async t => {
  let links = 0;
  for (const document of documents) {
    for (const [, target] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(?:https?|mailto):/.test(target!)) continue;
      links++;
      const [path = '', anchor] = target!.split('#', 2);
      const file = path === '' ? document : join(dirname(document), path);
      t.ok(existsSync(join(root, file)), `${document}: ${target}`);
      if (anchor === undefined) continue;
      const anchors = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading!));
      t.ok(anchors.includes(anchor), `${document}: ${target}`);
    }
  }
  t.ok(links > 10);
});

t.test('files of the project that are named in ARCHITECTURE and CONTRIBUTING are there', async t => {
  for (const document of ['docs/ARCHITECTURE.md', 'docs/CONTRIBUTING.md']) {
    const named = [...read(document).matchAll(/`((?:src|test|scripts|docs|bench|bin)\/[\w./-]+)`/g)].map(
      ([, file]) => file!,
    );
    t.ok(named.length > 10, document);
    t.same(
      named.filter(file => !existsSync(join(root, file))),
      [],
      document,
    );
  }
});

t.test('the README fits three screens', async t => {
  const lines = read('README.md').split('\n');
  t.ok(lines.length <= 150, `${lines.length} lines`);
  t.same(
    lines.filter(line => line.length > 200),
    [],
  );
  for (const command of ['npm run demo', 'npm test'])
    t.ok(
      lines.slice(0, 30).some(line => line.includes(command)),
      command,
    );
});
