/** What the kernel believes of a file's size decides where O_APPEND writes and how far a read goes. */
import { closeSync, constants, openSync, readSync, statSync, writeSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';

t.test('opened after a change elsewhere, the size is the new one at once', async t => {
  const mount = await aMount(t, { options: 'open_check=0', prepare: client => client.put('log', 'first\n') });
  const path = mount.path('log');
  let expected = 'first\n';
  for (let i = 0; i < 20; i++) {
    t.equal(statSync(path).size, expected.length);
    expected += `theirs ${i}\n`;
    await mount.client.put('log', expected);
    const into = Buffer.alloc(10_000);
    const reader = openSync(path, 'r');
    t.equal(into.toString('utf8', 0, readSync(reader, into, 0, into.length, 0)), expected, 'read');
    closeSync(reader);
    expected += `theirs again ${i}\n`;
    await mount.client.put('log', expected);
    const file = openSync(path, constants.O_WRONLY | constants.O_APPEND);
    writeSync(file, `ours ${i}\n`);
    closeSync(file);
    expected += `ours ${i}\n`;
    t.equal(await mount.client.text('log'), expected, 'appended');
  }
});
