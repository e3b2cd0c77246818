/** 64 processes that do everything at once: memory and descriptors of the daemon stay where they are, and so does every byte. */
import t from 'tap';
import { HUNG } from '../support/limits.ts';
import { differences, load, MEMORY, MOST_RESIDENT, PROCESSES, steadinessOf } from '../support/load.ts';
import { aMount } from '../support/mount.ts';

const { LOAD_SECONDS = '45' } = process.env;

t.test(`${PROCESSES} processes for ${LOAD_SECONDS} s`, async t => {
  const seconds = Number(LOAD_SECONDS);
  const mount = await aMount(t, { options: `memory=${MEMORY / 2 ** 20}MiB`, seconds: Math.max(HUNG, seconds + 180) });
  const { failed, files, series } = await load(mount, { seconds, seed: 1 });
  t.same(failed, [], 'no process has met an error or other bytes than its own');
  for (const { measure, before, after, isSteady } of steadinessOf(series)) {
    t.ok(isSteady, `${measure}: at most ${before}, then ${after}`);
  }
  const memory = mount.mostMemory();
  t.ok(memory < MOST_RESIDENT, `resident: at most ${Math.round(memory / 2 ** 20)} MiB`);
  t.ok(files.size > PROCESSES, `${files.size} files`);
  await mount.remount();
  t.same(differences(mount, files), [], 'every byte is there in a fresh mount, and nothing else');
  t.equal(await mount.client.openUploads(), 0, 'no upload is left');
});
