/** Statements of docs/SEMANTICS.md that need the kernel or a real store; named by them. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';

t.test('C8 locks among the programs of one mount', async t => {
  const mount = await aMount(t);
  const file = mount.path('locked');
  writeFileSync(file, '');
  const holder = spawn('flock', ['-n', file, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  t.equal(spawnSync('flock', ['-n', file, 'true']).status, 1, 'refused while it is held');
  holder.stdin.end();
  await once(holder, 'close');
  t.equal(spawnSync('flock', ['-n', file, 'true']).status, 0, 'free again');
});

t.test('C9 a store that keeps no conditions', async t => {
  const mount = await aMount(t, { serverArgs: ['--mode', 'noConditionalPut', '--mode', 'noConditionalComplete'] });
  for (const name of ['a', 'b']) {
    writeFileSync(mount.path(name), 'one');
    writeFileSync(mount.path(name), 'two');
    t.equal(await mount.client.text(name), 'two');
  }
  t.equal(mount.log().split('does not keep conditions').length - 1, 1, 'told once');
});
