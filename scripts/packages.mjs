// `npm run packages [-- --arch x64|arm64] [--format deb|rpm] [--quick]`: a .deb and an .rpm with a Node runtime of their own, into packages/.
// Debian 12 and Ubuntu 22.04 ship a Node that is too old; the packages need nothing but fuse3 and the C and C++ libraries.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { install, Refusal, root } from './prepare.mjs';
import { packageRuntime } from './requirements.mjs';

const { version, description, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const ARCHITECTURES = { x64: { deb: 'amd64', rpm: 'x86_64' }, arm64: { deb: 'arm64', rpm: 'aarch64' } };
const MAINTAINER = 's3mount <noreply@s3mount.invalid>';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', multiple: true, default: Object.keys(ARCHITECTURES) },
    format: { type: 'string', multiple: true, default: ['deb', 'rpm'] },
    out: { type: 'string', default: join(root, 'packages') },
    // Larger files in a tenth of the time: for tests.
    quick: { type: 'boolean', default: false },
  },
});

const run = (program, args, options = {}) =>
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options });

/** The files of an npm package, unpacked. npm checks them against the registry's digest. */
function fetchPackage(name, into) {
  mkdirSync(into, { recursive: true });
  const [{ filename }] = JSON.parse(
    execFileSync('npm', ['pack', name, '--json', '--loglevel=error', '--pack-destination', into], { encoding: 'utf8' }),
  );
  run('tar', ['-xzf', join(into, filename), '-C', into, '--strip-components=1']);
  rmSync(join(into, filename));
}

const installedVersion = name =>
  JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;

/** What is installed, below `tree`, with the modes that it has there. */
function stage(tree, arch) {
  const home = join(tree, 'usr/lib/s3mount');
  const put = (path, bytes, mode = 0o644) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), bytes, { mode });
  };
  cpSync(join(root, 'dist'), join(home, 'dist'), { recursive: true, filter: path => !path.endsWith('.map') });
  put('usr/lib/s3mount/package.json', `${JSON.stringify({ name: 's3mount', version, type: 'module' })}\n`);
  // The kernel starts our own Node: no PATH, no shell, no other version that somebody installs later.
  cpSync(join(root, 'bin'), join(home, 'bin'), { recursive: true });
  const program = readFileSync(join(root, 'bin/s3mount'), 'utf8').replace(/^#!.*/, '#!/usr/lib/s3mount/node');
  put('usr/lib/s3mount/bin/s3mount', program, 0o755);

  const koffi = join(home, 'node_modules/koffi');
  // What runs, without the sources of the native part.
  const filter = path => statSync(path).isDirectory() || /\.[cm]?js$|package\.json$|LICENSE/.test(path);
  cpSync(join(root, 'node_modules/koffi'), koffi, { recursive: true, filter });
  for (const name of ['doc', 'vendor', 'lib']) rmSync(join(koffi, name), { recursive: true, force: true });
  const native = `@koromix/koffi-linux-${arch}`;
  fetchPackage(`${native}@${installedVersion('koffi')}`, join(home, 'node_modules', native));

  const node = join(tree, 'node');
  fetchPackage(`node-linux-${arch}@${packageRuntime.version}`, node);
  renameSync(join(node, 'bin/node'), join(home, 'node'));
  chmodSync(join(home, 'node'), 0o755);
  const licence = ['LICENSE', 'share/doc/node/LICENSE'].map(name => join(node, name)).find(existsSync);
  if (licence) cpSync(licence, join(home, 'LICENSE.node'));
  rmSync(node, { recursive: true });

  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  mkdirSync(join(tree, 'usr/sbin'), { recursive: true });
  symlinkSync('../lib/s3mount/bin/s3mount', join(tree, 'usr/bin/s3mount'));
  // mount(8) looks for it by the type fuse.s3mount.
  symlinkSync('../lib/s3mount/bin/s3mount', join(tree, 'usr/sbin/mount.fuse.s3mount'));
  put('usr/share/man/man1/s3mount.1.gz', gzipSync(readFileSync(join(root, 'docs/s3mount.1')), { level: 9 }));
  const completion = shell =>
    execFileSync(process.execPath, [join(root, 'bin/s3mount'), 'completion', shell], { encoding: 'utf8' });
  put('usr/share/bash-completion/completions/s3mount', completion('bash'));
  put('usr/share/zsh/vendor-completions/_s3mount', completion('zsh'));
  put('usr/share/fish/vendor_completions.d/s3mount.fish', completion('fish'));
  for (const name of ['README.md', 'SECURITY.md']) put(`usr/share/doc/s3mount/${name}`, readFileSync(join(root, name)));
  for (const name of readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md'))) {
    put(`usr/share/doc/s3mount/docs/${name}`, readFileSync(join(root, 'docs', name)));
  }
  put('usr/share/doc/s3mount/changelog.gz', gzipSync(readFileSync(join(root, 'CHANGELOG.md')), { level: 9 }));
  put('usr/share/doc/s3mount/copyright', copyright());
}

function copyright() {
  const licences = readFileSync(join(root, 'dist/LICENSES.txt'), 'utf8');
  return `s3mount: ${license}\n\n${readFileSync(join(root, 'LICENSE'), 'utf8')}\n\nIt carries Node.js (its licences: /usr/lib/s3mount/LICENSE.node) and\n\n${licences}`;
}

const sizeOf = directory =>
  readdirSync(directory, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(directory, entry.name);
    return sum + (entry.isDirectory() ? sizeOf(path) : entry.isFile() ? statSync(path).size : 0);
  }, 0);

function deb(tree, arch, out) {
  const file = join(out, `s3mount_${version}_${ARCHITECTURES[arch].deb}.deb`);
  mkdirSync(join(tree, 'DEBIAN'));
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    `Package: s3mount
Version: ${version}
Architecture: ${ARCHITECTURES[arch].deb}
Maintainer: ${MAINTAINER}
Section: utils
Priority: optional
Installed-Size: ${Math.ceil(sizeOf(tree) / 1024)}
Depends: fuse3, libc6 (>= 2.28), libstdc++6, libgcc-s1
Recommends: ca-certificates
Description: ${description}
 Every program works on the bucket as on a disk; any other S3 tool reads the same objects.
`,
  );
  run('dpkg-deb', [
    '--root-owner-group',
    ...(values.quick ? ['-Zgzip', '-z1'] : ['-Zxz', '-z6']),
    '--build',
    tree,
    file,
  ]);
  rmSync(join(tree, 'DEBIAN'), { recursive: true });
  return file;
}

function rpm(tree, arch, out, work) {
  const { rpm: target } = ARCHITECTURES[arch];
  const spec = join(work, 's3mount.spec');
  // Fedora's name for the place where zsh looks.
  mkdirSync(join(tree, 'usr/share/zsh/site-functions'), { recursive: true });
  renameSync(
    join(tree, 'usr/share/zsh/vendor-completions/_s3mount'),
    join(tree, 'usr/share/zsh/site-functions/_s3mount'),
  );
  rmSync(join(tree, 'usr/share/zsh/vendor-completions'), { recursive: true });
  writeFileSync(
    spec,
    `Name: s3mount
Version: ${version}
Release: 1
Summary: ${description.replace(/\.$/, '')}
License: ${license}
Requires: fuse3, glibc >= 2.28, libstdc++, libgcc
AutoReqProv: no
%global __os_install_post %{nil}
%global debug_package %{nil}
%global _build_id_links none
%define _binary_payload ${values.quick ? 'w1.gzdio' : 'w6.xzdio'}
%description
Every program works on the bucket as on a disk; any other S3 tool reads the same objects.
%install
cp -a ${tree}/. %{buildroot}
%files
%defattr(-,root,root)
/usr/bin/s3mount
/usr/sbin/mount.fuse.s3mount
/usr/lib/s3mount
/usr/share/man/man1/s3mount.1.gz
/usr/share/bash-completion/completions/s3mount
/usr/share/zsh/site-functions/_s3mount
/usr/share/fish/vendor_completions.d/s3mount.fish
%doc /usr/share/doc/s3mount
`,
  );
  run('rpmbuild', ['-bb', '--quiet', '--target', target, '--define', `_topdir ${join(work, 'rpm')}`, spec], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [name] = readdirSync(join(work, 'rpm/RPMS', target));
  const file = join(out, name);
  cpSync(join(work, 'rpm/RPMS', target, name), file);
  return file;
}

try {
  const programs = { deb: 'dpkg-deb', rpm: 'rpmbuild' };
  for (const format of values.format)
    if (!programs[format]) throw new Refusal(`--format is deb or rpm, not ${format}.`);
  for (const arch of values.arch) if (!ARCHITECTURES[arch]) throw new Refusal(`--arch is x64 or arm64, not ${arch}.`);
  install(
    packageRuntime.requirements.filter(({ format }) => values.format.includes(format)),
    line => console.log(line),
  );
  run(process.execPath, [join(root, 'scripts/build.mjs')]);
  mkdirSync(values.out, { recursive: true });
  for (const arch of values.arch) {
    const work = mkdtempSync(join(tmpdir(), 's3mount-packages-'));
    try {
      const tree = join(work, 'tree');
      stage(tree, arch);
      // The .rpm last: it moves a file of the tree.
      for (const format of ['deb', 'rpm'].filter(name => values.format.includes(name))) {
        const file = format === 'deb' ? deb(tree, arch, values.out) : rpm(tree, arch, values.out, work);
        console.log(`${file} (${(statSync(file).size / 1e6).toFixed(1)} MB)`);
      }
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
