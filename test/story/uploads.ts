/** FileZilla and its like through the box's sftp-server, and an administrator who gives files to somebody else. */
import { chownSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { eventually } from '../support/mount.ts';
import type { Scene } from './scene.ts';
import { USERS } from './users.ts';

const SERVERS = ['/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server'];
const MB = 1_000_000;

/** Bytes that are nowhere the same. */
function bytes(size: number, seed: number): Buffer {
  const all = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) all.writeUInt32LE(((i + seed) * 2654435761) >>> 0, i);
  return all;
}

/** Arguments of sftp(1) that speaks with the server itself, as sshd lets it; `-` reads commands from stdin. */
const sftp = (commands = '-'): string[] => ['-q', '-b', commands, '-D', SERVERS.find(path => existsSync(path))!];

function isRunning(command: string): boolean {
  return readdirSync('/proc').some(name => {
    try {
      return readFileSync(join('/proc', name, 'comm'), 'utf8').trim() === command;
    } catch {
      // No process, or one that has just ended.
      return false;
    }
  });
}

/** Copies of files onto themselves and new markers of directories below a prefix, since the last reset. */
async function changes(scene: Scene, prefix: string): Promise<number> {
  const log = await scene.s3.log();
  return log.filter(({ op, key }) => key.startsWith(prefix) && (op === 'CopyObject' || op === 'PutObject')).length;
}

export const uploads = {
  async 'sftp: a batch, times and modes, an upload that breaks off and goes on'(t: Test, scene: Scene): Promise<void> {
    const { rstudio, client } = scene;
    const local = (name: string): string => join(rstudio.home, 'tmp', name);
    const [first, large] = [bytes(3 * MB, 1), bytes(12 * MB, 2)];
    writeFileSync(local('매출 2026.csv'), first);
    writeFileSync(local('large.bin'), large);
    for (const name of ['매출 2026.csv', 'large.bin']) chownSync(local(name), USERS[0].uid, USERS[0].uid);
    const batch = (commands: string): string => rstudio.run('sftp', sftp(), { input: commands });
    rstudio.shell(`touch -d 2021-02-03T04:05:06 "tmp/매출 2026.csv"; chmod 640 "tmp/매출 2026.csv"`);
    batch(`
      mkdir works/upload
      put "tmp/매출 2026.csv" works/upload/plain.csv
      put -p "tmp/매출 2026.csv" works/upload/
      put tmp/large.bin works/upload/large.bin.filepart
      rename works/upload/large.bin.filepart works/upload/large.bin
      chmod 600 works/upload/plain.csv
      ls -l works/upload
      get works/upload/large.bin tmp/back.bin`);
    t.ok((await client.get('upload/매출 2026.csv'))!.equals(first));
    t.ok((await client.get('upload/large.bin'))!.equals(large), 'a name of its own until it is whole, as WinSCP does');
    t.ok(readFileSync(local('back.bin')).equals(large));
    const kept = statSync(scene.path('upload/매출 2026.csv'));
    t.equal(kept.mtime.toISOString(), '2021-02-03T04:05:06.000Z', 'its time is kept');
    const { metadata } = (await client.head('upload/매출 2026.csv'))!;
    t.equal(Number(metadata['mode']), 0o100640, 'and its mode, though umask= shows another');

    // FileZilla: to its name at once, then its time; here the connection breaks.
    writeFileSync(local('commands'), 'put tmp/large.bin works/upload/broken.bin\n');
    // Half a megabyte a second: it is in the midst of it for twenty seconds.
    const upload = rstudio.start(t, 'sftp', ['-l', '4000', ...sftp(local('commands'))]);
    const broken = scene.path('upload/broken.bin');
    const sent = (): number => (existsSync(broken) ? statSync(broken).size : 0);
    t.ok(await eventually(() => sent() > MB / 2), 'it grows');
    await upload.end('SIGKILL');
    // Its server goes on with what it had received, and whoever resumes appends: nobody may do both at once.
    t.ok(await eventually(() => !isRunning('sftp-server')), 'the server of the broken connection has ended');
    const before = sent();
    t.ok(before < large.length, 'it broke off');
    batch('reput tmp/large.bin works/upload/broken.bin');
    t.ok((await client.get('upload/broken.bin'))!.equals(large), 'resumed');
    batch(`
      rm works/upload/broken.bin
      rename works/upload works/uploaded`);
    t.same(await client.keys('upload/'), []);
    t.ok((await client.get('uploaded/large.bin'))!.equals(large));
  },

  async 'sudo chown -R rstudio'(t: Test, scene: Scene): Promise<void> {
    const { root, rstudio, s3 } = scene;
    root.shell(
      `
      mkdir -p "$1/made/by root"
      for i in 1 2 3 4 5; do echo $i > "$1/made/by root/$i"; done
      chmod 700 "$1/made/by root"`,
      scene.works,
    );
    await scene.client.put('made/by root/elsewhere', 'x');
    const owner = async (name: string): Promise<string | undefined> =>
      (await scene.client.head(`made/by root/${name}`))?.metadata['uid'];
    t.equal(await owner('1'), '0', "what root makes is root's");
    // Changes of metadata, such as that by chmod, are sent a moment later.
    const flush = (): unknown => rstudio.run('s3mount', ['flush', scene.path('made')]);
    flush();
    await s3.reset();
    root.run('chown', ['-R', 'rstudio', scene.path('made')]);
    flush();
    t.equal(await changes(scene, 'made/'), 7, 'one for each that had another owner');
    const uid = String(USERS[0].uid);
    for (const name of ['', '1', '5']) t.equal(await owner(name), uid, `${name || 'the directory'}: S3 has it`);
    t.equal(rstudio.run('stat', ['-c', '%U', scene.path('made/by root/3')]), 'rstudio\n');
    rstudio.shell('echo more >> "works/made/by root/3"');
    t.equal(await scene.client.text('made/by root/3'), '3\nmore\n');
    await s3.reset();
    root.run('chown', ['-R', 'rstudio', scene.path('made')]);
    flush();
    t.equal(await changes(scene, 'made/'), 0, 'once more: nothing to do');
  },
};
