import { openSync, writeSync, closeSync, statSync, ftruncateSync, chmodSync, renameSync, fsyncSync, readSync, mkdirSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
const GIB = 1024**3, TIB=1024*GIB;
t.test('x', async t => {
  const mount = await aMount(t, { serverArgs: ['--etag=fast'], prepare: async (_c, s3) => {
    await s3!.fill('works-bucket', { key: 'big/warm', size: 100 * 2**20, seed: 1 });
    await s3!.fill('works-bucket', { key: 'big/a', size: 50 * GIB, seed: 2 });
    await s3!.fill('works-bucket', { key: 'big/b', size: 5 * TIB, seed: 3 });
    await s3!.fill('works-bucket', { key: 'big/c', size: 48 * TIB, seed: 4 });
  }});
  const step = async (name: string, work: () => void) => {
    await mount.s3.reset();
    const t0 = performance.now();
    try { work(); } catch (e) { console.error(name, e); }
    const s = await mount.s3.stats();
    console.error(name, ((performance.now()-t0)/1000).toFixed(2), JSON.stringify(s.requests), s.bytesIn, s.bytesOut, 'HWM', mount.mostMemory()>>20, 'srv', s.residentBytes>>20, s.cpuSeconds);
  };
  for (const n of (process.env.NAMES ?? 'warm,a,b,c').split(',')) {
    const p = mount.path('big', n);
    const size = statSync(p).size;
    console.error(n, size);
    await step('append', () => { const f = openSync(p, 'a'); writeSync(f, Buffer.alloc(1024, 7)); closeSync(f); });
    await step('patch', () => { const f = openSync(p, 'r+'); writeSync(f, Buffer.alloc(4096, 7), 0, 4096, Math.floor(size/2/4096)*4096+512); closeSync(f); });
    await step('down', () => { const f = openSync(p, 'r+'); ftruncateSync(f, size - 3000000); closeSync(f); });
    await step('up', () => { const f = openSync(p, 'r+'); ftruncateSync(f, size + 3000000); closeSync(f); });
    await step('chmod', () => { chmodSync(p, 0o600); const f = openSync(p, 'r'); fsyncSync(f); closeSync(f); });
    await step('rename', () => { renameSync(p, p+'2'); });
    await step('rename back', () => { renameSync(p+'2', p); });
    mkdirSync(mount.path('one'));
    renameSync(p, mount.path('one', n));
    await step('rename dir', () => { renameSync(mount.path('one'), mount.path('two')); });
    await step('rename back', () => { renameSync(mount.path('two', n), p); });
  }
});
