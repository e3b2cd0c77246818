/** RStudio's session in a project on the mount, and the R that ends with it. */
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { SessionSummary } from '../support/rstudio-session.ts';
import type { Scene } from './scene.ts';

const SESSION = fileURLToPath(new URL('../support/rstudio-session.ts', import.meta.url));

/** Five minutes of typing in ten seconds. */
const SECONDS = 300;
const SPEED = 30;

export const desk = {
  async "RStudio's session: autosaves, locks, watched tree, .RData at the end"(t: Test, scene: Scene): Promise<void> {
    const { rstudio, client } = scene;
    rstudio.shell('mkdir works/project');
    let summary!: SessionSummary;
    const requests = await scene.s3.during(() => {
      const args = [
        `--import=${import.meta.resolve('tsx')}`,
        SESSION,
        scene.path('project'),
        String(SECONDS),
        String(SPEED),
      ];
      summary = JSON.parse(rstudio.run(process.execPath, args)) as SessionSummary;
    });
    t.comment(`${JSON.stringify(summary)}; requests ${JSON.stringify(requests)}`);
    t.equal(summary.autosaves, SECONDS / 5);
    t.equal(summary.lockedBy, 'new file', 'there are no hard links: RStudio has another way');
    t.ok(summary.events >= summary.autosaves, 'inotify tells of each');
    t.equal((await client.text('project/분석.R'))!.split('\n').length, summary.autosaves + 2);
    t.equal(
      await client.text('project/.Rproj.user/63FFCF96/sources/session-1c39a6ab/77D3D8A3-contents'),
      await client.text('project/분석.R'),
    );
    t.equal(await client.get('project/.Rproj.user/63FFCF96/sources/session-1c39a6ab/lock_file'), undefined);
    rstudio.run('Rscript', ['-e', 'x <- seq_len(1e5); y <- "값"; save.image()'], { cwd: scene.path('project') });
    const back = 'load(".RData"); stopifnot(length(x) == 1e5, y == "값"); cat("restored\\n")';
    t.equal(rstudio.run('Rscript', ['-e', back], { cwd: scene.path('project') }), 'restored\n');
    t.same(
      (await client.keys('project/')).filter(key => !key.includes('.Rproj.user/')),
      ['project/', 'project/.RData', 'project/.Rhistory', 'project/project.Rproj', 'project/분석.R'],
      'no temporary file is left',
    );
    // fcntl's lock is the one that RStudio takes with lock-type=advisory; the symbolic link with use-symlinks=1.
    t.equal(rstudio.run('python3', ['-c', LOCKS, scene.path('project')]), 'held linked\n');
  },
};

const LOCKS = `
import fcntl, os, sys
os.chdir(sys.argv[1])
first = open('advisory', 'w')
fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
if os.fork() == 0:
    try: fcntl.lockf(open('advisory', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError: os._exit(7)
    os._exit(0)
held = os.waitstatus_to_exitcode(os.wait()[1]) == 7
open('proxy', 'w').close()
os.symlink(os.path.abspath('proxy'), 'lock')
print('held' if held else 'free', 'linked' if os.path.realpath('lock') == os.path.abspath('proxy') else 'lost')
`;
