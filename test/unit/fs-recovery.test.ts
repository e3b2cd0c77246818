import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { harmlessPath } from '../../src/fs/recovery.ts';
import { makeFileSystem } from '../support/filesystem.ts';

t.test('no key leads out of the directory', async () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('.', '/', 'a', '\0', '..'), maxLength: 12 }), label => {
      const path = harmlessPath(label);
      if (path.startsWith('/') || path.split('/').includes('..') || path === '' || path.includes('\0'))
        throw new Error(path);
    }),
  );
});

t.test('bytes that S3 would not take are kept on the local disk', async t => {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-recovery-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const { kernel, store, filesystem } = makeFileSystem();
  store.putForeign('d/base', 'stored bytes');
  store.failNext('PutObject', 'forbidden', { times: 100 });
  await t.rejects(kernel.writeFile('/d/new', 'never lost'));
  const changed = await kernel.open('/d/base', 2);
  await kernel.write(changed, 0, Buffer.from('STORED'));
  await t.rejects(kernel.close(changed));
  await filesystem.drain();
  t.same([...filesystem.unsaved().names].sort(), ['d/base', 'd/new']);
  const paths = await filesystem.recover(directory);
  t.equal(paths.length, 2);
  t.equal(readFileSync(join(directory, 'd/new'), 'utf8'), 'never lost');
  t.equal(readFileSync(join(directory, 'd/base'), 'utf8'), 'STORED bytes');
});
