/** The story, told inside the namespace that `story.test.ts` makes; prints TAP. */
import t from 'tap';
import { FILE_LIMIT } from '../support/limits.ts';
import { eventually } from '../support/mount.ts';
import { dashboard } from './dashboard.ts';
import { desk } from './desk.ts';
import { notebooks } from './notebooks.ts';
import { otherTools } from './other-tools.ts';
import { Scene } from './scene.ts';
import { spark } from './spark.ts';
import { uploads } from './uploads.ts';

// tap's own limit of 30 s is for files that its runner starts.
t.setTimeout(FILE_LIMIT);

const scene = new Scene();
const { rstudio, shiny, works } = scene;

/** Folders made by S3's console: what others put there later the mount finds at its first look. */
const FOLDERS = ['aws/', 'lake/', 'spark/'];

t.test('mkdir -p works, cd works, s3mount victor-seoul ~/works -o allow_other -oumask=0022', async t => {
  for (const key of FOLDERS) await scene.client.put(key);
  rstudio.shell(`
    mkdir -p works
    cd works
    s3mount victor-seoul ~/works -o allow_other -oumask=0022`);
  t.ok(scene.isMounted());
  rstudio.shell('echo day,amount > works/first.csv');
  t.equal(shiny.run('cat', [scene.path('first.csv')]), 'day,amount\n', 'another user reads');
  t.equal(await scene.client.text('first.csv'), 'day,amount\n');
  t.equal(shiny.run('stat', ['-c', '%U:%G:%a', works]), 'rstudio:rstudio:755\n');
});

const wanted = new RegExp(process.env['STORY'] ?? '');
const scenes = { ...otherTools, ...spark, ...notebooks, ...dashboard, ...uploads, ...desk };
for (const [name, tell] of Object.entries(scenes)) {
  if (wanted.test(name)) t.test(name, t => tell(t, scene));
}

t.test('s3mount umount ~/works', async t => {
  const log = scene.log();
  rstudio.run('s3mount', ['umount', works]);
  t.notOk(scene.isMounted());
  t.ok(await eventually(() => scene.log().length > log.length), 'the end is in the log');
  t.notMatch(scene.log(), /"level":(50|60)/, 'nothing was logged as an error');
});

t.teardown(() => {
  if (!t.passing()) t.comment(`the daemon's log:\n${scene.log().slice(-6000)}`);
  scene.client.close();
  // Whoever made the homes may not be root.
  if (!scene.isMounted()) scene.removeHomes();
});
