/** How notebook servers, RStudio and office suites save: copies beside, lock files, temporary files renamed over, watched trees. */
import {
  existsSync,
  type FSWatcher,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount, eventually } from '../support/mount.ts';
import { run } from '../support/processes.ts';

/**
 * What jupyter_server does at each save: the old notebook is copied to `.~NAME` with its times, the notebook is written in
 * place and fsynced, the copy removed; a checkpoint is a copy with its times in `.ipynb_checkpoints`.
 */
const JUPYTER = `
import json, os, shutil, sys
def copy2_safe(source, target):
    shutil.copyfile(source, target)
    shutil.copystat(source, target)
def save(path, text, fails=False):
    directory, name = os.path.split(path)
    beside = os.path.join(directory, '.~' + name)
    if os.path.isfile(path):
        copy2_safe(path, beside)
    f = open(path, 'w', encoding='utf-8', newline='\\n')
    try:
        f.write(text[:len(text) // 2])
        if fails: raise KeyboardInterrupt
        f.write(text[len(text) // 2:])
    except BaseException:
        f.close()
        os.replace(beside, path)
        return False
    f.flush()
    os.fsync(f.fileno())
    f.close()
    if os.path.isfile(beside): os.remove(beside)
    return True
def notebook(cells):
    return json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': {}, 'cells': [
        {'cell_type': 'code', 'id': str(i), 'source': 'print(%d) # 노트북' % i, 'outputs': ['x' * 3000]} for i in range(cells)]})
d = sys.argv[1]
path = os.path.join(d, '분석 1.ipynb')
checkpoints = os.path.join(d, '.ipynb_checkpoints')
checkpoint = os.path.join(checkpoints, '분석 1-checkpoint.ipynb')
for cells in range(1, 21):
    assert save(path, notebook(cells))
    if cells % 5 == 0:
        os.makedirs(checkpoints, exist_ok=True)
        copy2_safe(path, checkpoint)
        assert os.stat(checkpoint).st_mtime_ns == os.stat(path).st_mtime_ns
    assert len(json.load(open(path))['cells']) == cells
before = os.stat(path)
assert not save(path, notebook(50), fails=True)
assert json.load(open(path))['cells'][-1]['id'] == '19', 'a save that fails gives the old notebook back'
assert os.stat(path).st_mtime_ns == before.st_mtime_ns, 'with its time'
assert save(path, notebook(3))
shutil.copyfile(checkpoint, path)
shutil.copystat(checkpoint, path)
assert len(json.load(open(path))['cells']) == 20, 'restored'
# Renamed with its checkpoint.
os.rename(path, os.path.join(d, 'b.ipynb'))
shutil.move(checkpoint, os.path.join(checkpoints, 'b-checkpoint.ipynb'))
print(sorted(os.listdir(d)), os.listdir(checkpoints))
`;

t.test("Jupyter's saves and checkpoints", async t => {
  const mount = await aMount(t);
  t.equal(run('python3', ['-c', JUPYTER, mount.dir]), "['.ipynb_checkpoints', 'b.ipynb'] ['b-checkpoint.ipynb']\n");
  const text = readFileSync(mount.path('b.ipynb'), 'utf8');
  t.equal(await mount.client.text('b.ipynb'), text, 'in S3');
  t.equal(await mount.client.text('.ipynb_checkpoints/b-checkpoint.ipynb'), text);
  const { mtimeMs } = statSync(mount.path('b.ipynb'));
  await mount.remount();
  t.equal(readFileSync(mount.path('b.ipynb'), 'utf8'), text);
  t.equal(statSync(mount.path('.ipynb_checkpoints/b-checkpoint.ipynb')).mtimeMs, mtimeMs, "the copy's time");
});

/** An office suite with a document open: its lock file, its file lock, a save by a temporary file, one in place, a backup. */
const OFFICE = `
import fcntl, io, os, shutil, sys, zipfile
d, who = sys.argv[1:3]
path = os.path.join(d, 'report.odt')
lock = os.path.join(d, '.~lock.report.odt#')
def document(text):
    into = io.BytesIO()
    with zipfile.ZipFile(into, 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('mimetype', 'application/vnd.oasis.opendocument.text')
        z.writestr('content.xml', '<text>%s</text>' % text * 2000)
    return into.getvalue()
try:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
except FileExistsError:
    print('in use by', open(lock).read().split(',')[1])
    sys.exit(3)
os.write(fd, (',%s,host,21.11.2026 12:00,file:///home/%s;' % (who, who)).encode())
os.close(fd)
if not os.path.exists(path):
    open(path, 'wb').write(document('new'))
f = os.open(path, os.O_RDWR)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
print('open')
sys.stdout.flush()
sys.stdin.readline()
# In place, on the locked descriptor.
content = document('in place by ' + who)
os.ftruncate(f, 0)
os.pwrite(f, content, 0)
os.fsync(f)
assert zipfile.ZipFile(path).testzip() is None
# By a temporary file that takes the name, the mode and the owner.
temporary = os.path.join(d, 'lu%dabc.tmp' % os.getpid())
content = document('by ' + who)
with open(temporary, 'xb') as t:
    t.write(content)
    t.flush()
    os.fsync(t.fileno())
shutil.copymode(path, temporary)
shutil.copy2(path, path + '.bak')
os.rename(temporary, path)
os.close(f)
assert open(path, 'rb').read() == content
os.unlink(lock)
print('saved')
`;

t.test("an office suite's lock files and saves", async t => {
  const mount = await aMount(t);
  const office = (who: string): string =>
    run('python3', ['-c', OFFICE, mount.dir, who], { input: '\n', codes: [0, 3] });
  t.equal(office('one'), 'open\nsaved\n');
  writeFileSync(mount.path('.~lock.report.odt#'), ',two,host,now,file:///home/two;', { flag: 'wx' });
  t.equal(await mount.client.text('.~lock.report.odt#'), ',two,host,now,file:///home/two;', 'others see the lock');
  t.equal(office('three'), 'in use by two\n');
  run('rm', [mount.path('.~lock.report.odt#')]);
  t.equal(office('three'), 'open\nsaved\n');
  t.same(readdirSync(mount.dir), ['report.odt', 'report.odt.bak']);
  t.match(run('unzip', ['-p', mount.path('report.odt'), 'content.xml']), /^<text>by three</);
  t.match(run('unzip', ['-p', mount.path('report.odt.bak'), 'content.xml']), /^<text>in place by three</);
  t.ok((await mount.client.get('report.odt'))!.equals(readFileSync(mount.path('report.odt'))), 'in S3');
});

/** A session of R in a project: sources are saved by rename, the workspace and the history at its end. */
const R_SESSION = `
setwd(commandArgs(TRUE)[1])
source("analysis.R")
stopifnot(total == sum(1:100))
frame <- data.frame(i = 1:5000, s = "값")
pdf("plot.pdf"); plot(1:10); invisible(dev.off())
writeLines("source(\\"analysis.R\\")", ".Rhistory")
save.image(".RData")
`;

t.test("RStudio's project: autosaves, a watched tree, the workspace", async t => {
  const mount = await aMount(t);
  const project = mount.path('project');
  const session = join(project, '.Rproj.user/A1B2C3/sources/session-1');
  mkdirSync(join(session, 'lock_file.d'), { recursive: true });
  writeFileSync(join(project, 'project.Rproj'), 'Version: 1.0\n');
  const seen = watchTree(t, project);
  for (let i = 1; i <= 25; i++) {
    saveByRename(join(session, 'DF00AB12'), JSON.stringify({ id: 'DF00AB12', contents: `draft ${i}`, dirty: true }));
    saveByRename(join(session, 'DF00AB12-contents'), `total <- sum(1:${i * 4})\n`);
    if (i % 5 === 0) saveByRename(join(project, 'analysis.R'), `total <- sum(1:${i * 4})\n`);
  }
  t.ok(await eventually(() => seen.has('analysis.R') && seen.has('DF00AB12')), `the watch saw ${[...seen].join(', ')}`);
  t.notOk(
    [...readdirSync(session), ...readdirSync(project)].some(name => name.includes('.tmp')),
    'no draft is left',
  );
  run('Rscript', ['-e', R_SESSION, project]);
  await mount.remount();
  t.equal(readFileSync(join(project, 'analysis.R'), 'utf8'), 'total <- sum(1:100)\n');
  const check = `load(file.path(commandArgs(TRUE)[1], ".RData")); stopifnot(nrow(frame) == 5000, total == 5050); cat("loaded")`;
  t.equal(run('Rscript', ['-e', check, project]), 'loaded', 'by a fresh mount');
  t.ok(existsSync(join(project, 'plot.pdf')));
  t.match(await mount.client.text('project/.Rproj.user/A1B2C3/sources/session-1/DF00AB12'), /draft 25/);
});

function saveByRename(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text, { flush: true });
  run('mv', ['-f', `${path}.tmp`, path]);
}

/** Names that inotify has told from any directory of the tree. */
function watchTree(t: Parameters<typeof aMount>[0], root: string): Set<string> {
  const seen = new Set<string>();
  const watchers: FSWatcher[] = [];
  const visit = (directory: string): void => {
    watchers.push(watch(directory, (_, name) => void (name && seen.add(name))));
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) visit(join(directory, entry.name));
    }
  };
  visit(root);
  t.teardown(() => {
    for (const each of watchers) each.close();
  });
  return seen;
}
