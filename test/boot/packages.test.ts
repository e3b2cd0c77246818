/** The packages that no machine here installs: what is in them, and the .rpm's program run where there is no Node. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Machine } from '../support/machine.ts';
import { run } from '../support/processes.ts';
import { EmbeddedChild } from '../support/s3-child.ts';
import { ForeignClient } from '../support/s3-client.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/packages.mjs', import.meta.url));
const BUCKET = 'works-bucket';
/** e_machine of ELF's header, by Node's name of the architecture. */
const ELF_MACHINE = { x64: 0x3e, arm64: 0xb7 } as const;

function build(t: Test, arch: string, format: string): string {
  const out = mkdtempSync(join(tmpdir(), 's3mount-packages-'));
  t.teardown(() => rmSync(out, { recursive: true, force: true }));
  run(process.execPath, [SCRIPT, `--arch=${arch}`, `--format=${format}`, '--quick', `--out=${out}`]);
  return join(out, readdirSync(out)[0]!);
}

/** Files that a machine executes or loads, with the machine that they are for. */
function programsBelow(directory: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const head = readFileSync(path).subarray(0, 20);
    if (head.readUInt32BE(0) === 0x7f454c46) found.set(path.slice(directory.length + 1), head.readUInt16LE(18));
  }
  return found;
}

t.test('the .rpm is unpacked where there is no Node, and mounts', async t => {
  const file = build(t, process.arch, 'rpm');
  t.same(
    run('rpm', ['-qp', '--requires', file])
      .trim()
      .split('\n')
      .filter(line => !line.startsWith('rpmlib('))
      .sort(),
    ['fuse3', 'glibc >= 2.28', 'libgcc', 'libstdc++'],
  );
  t.match(run('rpm', ['-qp', '--qf', '%{LICENSE}', file]), 'Apache-2.0');
  const machine = new Machine();
  t.teardown(() => machine.destroy());
  t.throws(() => machine.run('command -v node'), 'it has no Node');
  run('rpm2archive', [file]);
  run('tar', ['-xzf', `${file}.tgz`, '-C', machine.root]);
  t.match(machine.run('s3mount --version'), /^s3mount \d/);
  t.ok(machine.read('usr/share/zsh/site-functions/_s3mount'));

  const server = await EmbeddedChild.start({ buckets: [BUCKET] });
  t.teardown(() => server.stop());
  const { url, accessKeyId, secretAccessKey } = server.access;
  machine.write('etc/passwd-s3fs', `${accessKeyId}:${secretAccessKey}\n`, 0o600);
  machine.run('mount -t proc proc /proc && mkdir -p /works && { test -c /dev/fuse || mknod /dev/fuse c 10 229; }');
  machine.run(`s3mount ${BUCKET} /works -o url=${url},use_path_request_style`);
  machine.run('echo from the rpm > /works/file && s3mount status /works | grep -q unsaved && s3mount umount /works');
  t.equal(await new ForeignClient(server.access, BUCKET).text('file'), 'from the rpm\n');
});

t.test('what the package for the other architecture holds', async t => {
  const arch = process.arch === 'arm64' ? 'x64' : 'arm64';
  const file = build(t, arch, 'deb');
  const root = mkdtempSync(join(tmpdir(), 's3mount-unpacked-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  run('dpkg-deb', ['-x', file, root]);
  const programs = programsBelow(root);
  t.ok(programs.has('usr/lib/s3mount/node'), `${arch}: a Node of its own`);
  t.ok(
    [...programs.keys()].some(path => path.endsWith('koffi.node')),
    `${arch}: and koffi's library`,
  );
  t.same([...new Set(programs.values())], [ELF_MACHINE[arch]], `${arch}: all for this machine`);
  t.match(run('dpkg-deb', ['-f', file, 'Depends']), /^fuse3, libc6 \(>= 2\.28\), libstdc\+\+6, libgcc-s1$/m);
  const licences = readFileSync(join(root, 'usr/share/doc/s3mount/copyright'), 'utf8');
  for (const name of ['@aws-sdk/client-s3', 'koffi', 'lru-cache', 'pino', 'smol-toml', 'yargs']) {
    t.ok(licences.includes(`${name} `), `${arch}: the licence of ${name}`);
  }
  t.match(readFileSync(join(root, 'usr/lib/s3mount/LICENSE.node'), 'utf8'), /Node\.js is licensed for use/);
});
