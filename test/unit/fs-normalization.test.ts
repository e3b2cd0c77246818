import t from 'tap';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem } from '../support/filesystem.ts';

const NFC = '한글'.normalize('NFC');
const NFD = '한글'.normalize('NFD');

t.test('a lookup that misses by normalisation alone is said once for a directory', async t => {
  const said: string[] = [];
  const log = { ...silentTelemetry.log, warn: (fields: object) => said.push(JSON.stringify(fields)) };
  const { kernel, store } = makeFileSystem({ telemetry: new Counters(log) });
  for (const key of [`mac/${NFD}`, `linux/${NFC}`, 'other/x'])
    await store.put(key, [], { headers: {}, metadata: {} }, undefined);
  await t.rejects(kernel.stat(`/mac/${NFC}`), { code: 'ENOENT' });
  await t.rejects(kernel.stat(`/mac/${NFC}`), { code: 'ENOENT' });
  t.same(said, [JSON.stringify({ directory: 'mac/', name: NFC, form: 'NFD' })]);
  await t.rejects(kernel.stat(`/linux/${NFD}`), { code: 'ENOENT' });
  t.same(said.length, 2);
  t.ok(await kernel.stat(`/mac/${NFD}`));
  await t.rejects(kernel.stat(`/other/${NFD}`), { code: 'ENOENT' });
  await t.rejects(kernel.stat('/other/y'), { code: 'ENOENT' });
  t.equal(said.length, 2, 'other misses are none');
});
