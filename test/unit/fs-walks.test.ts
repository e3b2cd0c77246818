import t from 'tap';
import { makeFileSystem } from '../support/filesystem.ts';

const MIB = 1024 * 1024;

t.test('files that come whole ahead of a reader wait for it: memory is not short before they are read', async t => {
  const { kernel, store } = makeFileSystem({ budget: 32 * MIB });
  const names = Array.from({ length: 60 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(2 * MIB + 7, name));
  // As the kernel does, something below keeps the directory known.
  await kernel.open(`/d/${names[0]}`, 0);
  for (const name of names) {
    const bytes = await kernel.readFile(`/d/${name}`);
    t.ok(bytes.equals(Buffer.alloc(2 * MIB + 7, name)), name);
  }
  const gets = store.count('GetObject');
  t.ok(gets >= 60 && gets <= 2.2 * names.length, `${gets} GETs`);
});

t.test('a reader that jumps out of order starts anew', async t => {
  const { kernel, store } = makeFileSystem({ budget: 32 * MIB });
  const names = Array.from({ length: 60 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(2 * MIB, name));
  await kernel.open(`/d/${names[0]}`, 0);
  for (const name of names.slice(0, 10)) await kernel.readFile(`/d/${name}`);
  // What was fetched after the tenth must not count as ahead for ever.
  for (const name of names.slice(30)) await kernel.readFile(`/d/${name}`);
  const gets = store.count('GetObject');
  // Six were on their way; of three files at each beginning nobody knew yet that they are read whole: some six GETs each.
  t.ok(gets <= 40 + 6 + 2 * 3 * 5 + 4, `${gets} GETs for 40 files`);
});
