/** A Jupyter server on the mount, asked as its browser asks it: saves, checkpoints, renames, deletes, what others change. */
import type { Test } from 'tap';
import { eventually } from '../support/mount.ts';
import { SEEN } from './other-tools.ts';
import { PYTHON, type Scene, total } from './scene.ts';

const TOKEN = 'story';
/** In a network of its own every port is free. */
const PORT = 8888;

interface Contents {
  readonly name: string;
  readonly path: string;
  readonly last_modified: string;
  readonly size: number;
  readonly content: unknown;
}

/** A request of Jupyter's contents API; its answer. Throws with what the server said. */
async function api(method: string, path: string, body?: unknown): Promise<Contents> {
  const answer = await fetch(`http://127.0.0.1:${PORT}/api/contents/${encodeURI(path)}`, {
    method,
    headers: { authorization: `token ${TOKEN}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return (text === '' ? {} : JSON.parse(text)) as Contents;
}

const cell = (index: number): unknown => ({
  cell_type: 'code',
  id: `cell-${index}`,
  metadata: {},
  source: `print("${index}번째 칸")`,
  outputs: [],
  execution_count: null,
});

const notebook = (cells: number): unknown => ({
  type: 'notebook',
  format: 'json',
  content: { nbformat: 4, nbformat_minor: 5, metadata: {}, cells: Array.from({ length: cells }, (_, i) => cell(i)) },
});

const cellsOf = (text: string | undefined): number => (JSON.parse(text!) as { cells: unknown[] }).cells.length;

export const notebooks = {
  async 'a Jupyter server: saves, checkpoints, what others change'(t: Test, scene: Scene): Promise<void> {
    const server = scene.rstudio.start(t, PYTHON, [
      '-m',
      'jupyter_server',
      `--ServerApp.root_dir=${scene.works}`,
      `--ServerApp.port=${PORT}`,
      '--ServerApp.port_retries=0',
      '--ServerApp.open_browser=False',
      `--IdentityProvider.token=${TOKEN}`,
    ]);
    await server.says(/http:\/\/127\.0\.0\.1:8888\//);
    // It says so before it listens.
    t.ok(await eventually(() => api('GET', '').then(Boolean, () => false)));
    const path = 'notebooks/매출 분석.ipynb';
    await api('PUT', 'notebooks', { type: 'directory' });
    await api('PUT', path, notebook(1));
    t.equal(cellsOf(await scene.client.text(path)), 1, 'a notebook is an object');
    const checkpoint = (await api('POST', `${path}/checkpoints`)) as unknown as { id: string };
    let saved = await api('PUT', path, notebook(2));
    const requests = await scene.s3.during(async () => {
      saved = await api('PUT', path, notebook(3));
    });
    t.comment(`one autosave: ${JSON.stringify(requests)}`);
    t.equal(requests['PutObject'], 2, 'the copy beside it and the notebook');
    t.equal(requests['DeleteObject'], 1, 'the copy removed');
    t.ok(total(requests) <= 6);
    t.equal((await api('GET', `${path}?content=0`)).last_modified, saved.last_modified);
    t.equal(cellsOf(await scene.client.text(path)), 3);
    const stored = await scene.client.text('notebooks/.ipynb_checkpoints/매출 분석-checkpoint.ipynb');
    t.equal(cellsOf(stored), 1, 'a checkpoint is an object too');

    // Somebody edits another notebook elsewhere; and longer than attributes are kept nothing says that ours has changed.
    await api('PUT', 'notebooks/b.ipynb', notebook(1));
    await scene.client.put('notebooks/b.ipynb', JSON.stringify((notebook(5) as Contents).content));
    const changed = async (): Promise<boolean> => {
      const { content } = await api('GET', 'notebooks/b.ipynb');
      return (content as { cells: unknown[] }).cells.length === 5;
    };
    t.ok(await eventually(changed, SEEN), 'what was changed by the S3 API');
    scene.aws('s3', 'cp', '--quiet', `s3://victor-seoul/${path}`, 's3://victor-seoul/notebooks/c.ipynb');
    const listed = async (): Promise<string[]> => {
      const { content } = await api('GET', 'notebooks');
      return (content as Contents[]).map(({ name }) => name).sort();
    };
    t.ok(await eventually(async () => (await listed()).includes('c.ipynb'), SEEN), 'a notebook that was copied there');
    t.equal((await api('GET', `${path}?content=0`)).last_modified, saved.last_modified, 'no "file changed on disk"');

    await api('POST', `${path}/checkpoints/${checkpoint.id}`);
    t.equal(cellsOf(await scene.client.text(path)), 1, 'restored');
    await api('PATCH', path, { path: 'notebooks/a.ipynb' });
    t.same(await listed(), ['a.ipynb', 'b.ipynb', 'c.ipynb']);
    // Not for ever: Jupyter moves it to the trash of the filesystem.
    await api('DELETE', 'notebooks/b.ipynb');
    t.same(await listed(), ['a.ipynb', 'c.ipynb']);
    t.equal(await scene.client.get('notebooks/b.ipynb'), undefined);
    t.notMatch(server.said(), /Traceback|\[E /, 'the server complained of nothing');
  },
};
