/**
 * What an RStudio session does to the directory of its project, replayed: `rstudio-session.ts DIR SECONDS SPEED [idle]`. SECONDS are
 * those of the session; it takes SECONDS / SPEED. With `idle` the project is only open.
 *
 * 1. The session's directory below `.Rproj.user` is locked: by a hard link, and where there is none by a file that must be new. The
 *    lock's time is set every 20 s.
 * 2. While somebody types, each pause writes the document's entry in the source database and its contents, both in place; and
 *    the document itself, as a temporary file that is renamed over it.
 * 3. The tree is watched by inotify. After each event the Files pane lists the directory, with a stat of each entry.
 * 4. The state of panes is written every minute, the history at the end.
 *
 * Prints what it did as JSON. Throws where the project does not hold what was written.
 */
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** Seconds of the session. */
const AUTOSAVE_EVERY = 5;
const LOCK_EVERY = 20;
const PANES_EVERY = 60;

export interface SessionSummary {
  autosaves: number;
  events: number;
  listings: number;
  lockedBy: 'hard link' | 'new file';
}

class Session {
  readonly summary: SessionSummary = { autosaves: 0, events: 0, listings: 0, lockedBy: 'hard link' };
  readonly #project: string;
  readonly #scratch: string;
  readonly #sources: string;
  readonly #lock: string;
  readonly #document: string;
  #text = '# 매출 분석\n';
  #changed = false;

  constructor(project: string) {
    this.#project = project;
    this.#scratch = join(project, '.Rproj.user/63FFCF96');
    this.#sources = join(this.#scratch, 'sources/session-1c39a6ab');
    this.#lock = join(this.#sources, 'lock_file');
    this.#document = join(project, '분석.R');
  }

  open(): () => void {
    for (const name of ['pcs', 'sources/prop', 'viewer-cache', 'unsaved-notebooks', 'explorer-cache', 'jobs']) {
      mkdirSync(join(this.#scratch, name), { recursive: true });
    }
    mkdirSync(join(this.#project, '.Rproj.user/shared/notebooks'), { recursive: true });
    mkdirSync(this.#sources, { recursive: true });
    this.#takeLock();
    writeFileSync(join(this.#project, 'project.Rproj'), 'Version: 1.0\n\nRestoreWorkspace: Default\n');
    writeFileSync(this.#document, this.#text);
    const watchers = [this.#project, this.#sources].map(directory =>
      watch(directory, () => {
        this.summary.events++;
        this.#changed = true;
      }),
    );
    return () => {
      for (const watcher of watchers) watcher.close();
    };
  }

  #takeLock(): void {
    const proxy = join(this.#sources, `.rstudio-lock-41c29-box-${process.pid}`);
    writeFileSync(proxy, String(process.pid));
    try {
      linkSync(proxy, this.#lock);
    } catch {
      this.summary.lockedBy = 'new file';
      closeSync(openSync(this.#lock, 'wx', 0o755));
    }
    rmSync(proxy);
  }

  autosave(): void {
    this.#text += `y${this.summary.autosaves} <- sum(x) # 줄 ${this.summary.autosaves}\n`;
    const entry = { id: '77D3D8A3', path: this.#document, dirty: true, last_content_update: Date.now() };
    writeFileSync(join(this.#sources, '77D3D8A3'), JSON.stringify(entry));
    writeFileSync(join(this.#sources, '77D3D8A3-contents'), this.#text);
    const temporary = `${this.#document}.${this.summary.autosaves}.tmp`;
    writeFileSync(temporary, this.#text);
    renameSync(temporary, this.#document);
    if (readFileSync(this.#document, 'utf8') !== this.#text) throw new Error('the document is not what was saved');
    this.summary.autosaves++;
  }

  refreshLock(): void {
    const now = new Date();
    utimesSync(this.#lock, now, now);
  }

  savePanes(): void {
    for (const name of ['files-pane', 'source-pane', 'windowlayoutstate', 'workbench-pane']) {
      writeFileSync(join(this.#scratch, 'pcs', `${name}.pper`), JSON.stringify({ saved: this.summary.autosaves }));
    }
  }

  /** The Files pane, if anything happened. */
  showFiles(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.summary.listings++;
    for (const name of readdirSync(this.#project)) statSync(join(this.#project, name));
  }

  close(): void {
    writeFileSync(join(this.#project, '.Rhistory'), 'summary(x)\n');
    rmSync(this.#lock);
    const left = readdirSync(this.#project).filter(name => name.endsWith('.tmp'));
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
  }
}

const [, , project = '', seconds = '60', speed = '1', idle] = process.argv;
const session = new Session(project);
const stopWatching = session.open();
const begin = Date.now();
for (let second = 1; second <= Number(seconds); second++) {
  const due = begin + (second * 1000) / Number(speed);
  await new Promise(resolve => setTimeout(resolve, Math.max(0, due - Date.now())));
  if (idle === undefined && second % AUTOSAVE_EVERY === 0) session.autosave();
  if (second % LOCK_EVERY === 0) session.refreshLock();
  if (idle === undefined && second % PANES_EVERY === 0) session.savePanes();
  session.showFiles();
}
stopWatching();
session.close();
console.log(JSON.stringify(session.summary));
