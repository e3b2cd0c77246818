/** A virtual environment in the mount, packages installed into it by pip, and programs run from there. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run, shell } from '../support/processes.ts';

/** Makes a wheel by hand, so that nothing is asked of the network: a package with 30 modules, data, and a program. */
const WHEEL = `
import base64, hashlib, sys, zipfile
version, path = sys.argv[1:3]
files = {'smallpkg/__init__.py': 'VERSION = %r\\n' % version, 'smallpkg/data/words.txt': '낱말\\n' * 500}
for i in range(30): files['smallpkg/m%d.py' % i] = 'VALUE = %d\\n' % i
files['smallpkg/cli.py'] = '''import importlib, importlib.resources, smallpkg
def main():
    total = sum(importlib.import_module('smallpkg.m%d' % i).VALUE for i in range(30))
    words = importlib.resources.files('smallpkg').joinpath('data/words.txt').read_text('utf-8').split()
    print(smallpkg.VERSION, total, len(words))
'''
info = 'smallpkg-%s.dist-info/' % version
files[info + 'METADATA'] = 'Metadata-Version: 2.1\\nName: smallpkg\\nVersion: %s\\n' % version
files[info + 'WHEEL'] = 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'
files[info + 'entry_points.txt'] = '[console_scripts]\\nsmallpkg = smallpkg.cli:main\\n'
digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()
record = ''.join('%s,sha256=%s,%d\\n' % (name, digest(text), len(text.encode())) for name, text in files.items())
files[info + 'RECORD'] = record + info + 'RECORD,,\\n'
with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    for name, text in files.items(): z.writestr(name, text)
`;

t.test('venv and pip', async t => {
  const mount = await aMount(t);
  const wheels = join(mount.directory, 'wheels');
  mkdirSync(wheels);
  for (const version of ['1.0', '2.0']) {
    run('python3', ['-c', WHEEL, version, join(wheels, `smallpkg-${version}-py3-none-any.whl`)]);
  }
  const place = mount.path('env');
  run('python3', ['-m', 'venv', place]);
  const python = join(place, 'bin/python');
  const pip = (...args: string[]): string =>
    run(join(place, 'bin/pip'), ['--disable-pip-version-check', '--no-cache-dir', ...args]);
  const quiet = ['--quiet', '--no-index', '--find-links', wheels];
  pip('install', ...quiet, 'smallpkg==1.0');
  t.equal(run(join(place, 'bin/smallpkg'), []), '1.0 435 500\n', 'the program of the package');
  pip('install', ...quiet, '--upgrade', 'smallpkg');
  t.equal(run(join(place, 'bin/smallpkg'), []), '2.0 435 500\n', 'upgraded');
  await mount.remount();
  t.equal(run(join(place, 'bin/smallpkg'), []), '2.0 435 500\n', 'in a fresh mount');
  t.match(pip('list', '--format=freeze'), /^smallpkg==2\.0$/m);
  const check = 'import sys, smallpkg; print(sys.prefix == sys.argv[1], smallpkg.__file__.startswith(sys.argv[1]))';
  t.equal(run(python, ['-c', check, place]), 'True True\n');
  t.ok(existsSync(join(place, 'pyvenv.cfg')));
  writeFileSync(mount.path('script.py'), `#!${python}\nfrom smallpkg.cli import main\nmain()\n`, { mode: 0o755 });
  t.equal(run(mount.path('script.py'), []), '2.0 435 500\n', 'a script by its first line');
  pip('uninstall', '--quiet', '--yes', 'smallpkg');
  const left = shell('find "$1" -path "*smallpkg*"', { args: [place] });
  t.equal(left, '', 'uninstalled');
  t.ok(readdirSync(join(place, 'bin')).includes('python'));
});
