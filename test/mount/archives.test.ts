/** Objects in an archive, virtual attributes and indexers, on a real mount and by the programs that people use. */
import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ManualClock } from '../support/manual-clock.ts';
import { aPlace, BUCKET, eventually, output } from '../support/s3mount-command.ts';

t.test('Glacier: EACCES, told in the log; restored; read', async t => {
  const clock = new ManualClock(Date.now());
  const place = await aPlace(t, { clock, modes: { restoreTakes: 1500 } });
  const { mountPoint, server } = place;
  server.putObject(BUCKET, 'old.bin', 'archived bytes', { storageClass: 'GLACIER' });
  server.putObject(BUCKET, 'tiers.bin', 'sleeping', {
    storageClass: 'INTELLIGENT_TIERING',
    archiveStatus: 'ARCHIVE_ACCESS',
  });
  server.putObject(BUCKET, 'new.bin', 'x');
  await place.mount();
  const path = join(mountPoint, 'old.bin');
  await t.rejects(readFile(path), { code: 'EACCES' });
  const logs = join(place.directory, 'state/log');
  const log = await readFile(join(logs, (await readdir(logs))[0]!), 'utf8');
  t.match(log, /GetObject of \\"old\.bin\\" failed: .*InvalidObjectState.*restore the object from its archive first/);
  t.match((await place.run(['why', path])).stdout, new RegExp(`archive \\(Glacier\\).*s3mount restore ${path}`));
  t.match(await place.run(['restore', '--show', path]), { code: 0, stdout: /old\.bin: archived; / });
  t.match(await place.run(['restore', '--days=3', path]), { code: 0, stdout: /being restored/ });
  t.match(await place.run(['restore', path]), { code: 0, stdout: /being restored/ }, 'asked twice');
  const read = (name: string): ReturnType<typeof output> =>
    output('getfattr', ['--only-values', '-n', `user.s3mount.${name}`, path], {});
  t.equal((await read('restore')).stdout, 'restoring');
  await clock.advance(1500);
  await eventually(t, async () => (await read('restore')).stdout.startsWith('restored until '), 'it takes a while');
  t.equal(await readFile(path, 'utf8'), 'archived bytes');

  const tiers = join(mountPoint, 'tiers.bin');
  await t.rejects(readFile(tiers), { code: 'EACCES' });
  t.match(await output('setfattr', ['-n', 'user.s3mount.restore', '-v', '1d:Bulk', tiers], {}), { code: 0 });
  t.match(await place.run(['restore', '--show', tiers]), { stdout: /being restored/ });
  const wrong = await place.run(['restore', join(mountPoint, 'new.bin'), join(mountPoint, 'none')]);
  t.match(wrong, { code: 12, stderr: /new\.bin is in no archive.*\n.*none.*\n.*2 of 2/ });
  t.match(await place.run(['restore', '--tier=quick', path]), { code: 1, stderr: /Standard, Bulk or Expedited/ });
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('virtual attributes are read by name, and cp -a and rsync -X do not carry them along', async t => {
  const place = await aPlace(t, { modes: { versioning: true } });
  const { mountPoint } = place;
  await place.mount();
  const path = join(mountPoint, 'a');
  await writeFile(path, 'hello');
  const { stdout } = await output('getfattr', ['-n', 'user.s3mount.etag', '--only-values', path], {});
  t.equal(stdout, '5d41402abc4b2a76b9719d911017c592');
  t.match((await output('getfattr', ['-n', 'user.s3mount.version_id', '--only-values', path], {})).stdout, /./);
  t.equal((await output('getfattr', ['-n', 'user.s3mount.uri', '--only-values', path], {})).stdout, `s3://${BUCKET}/a`);
  t.equal((await output('getfattr', ['-d', path], {})).stdout, '', 'not listed');
  t.match(await output('setfattr', ['-n', 'user.s3mount.etag', '-v', 'x', path], {}), {
    code: 1,
    stderr: /not permitted/,
  });
  t.match(await output('cp', ['-a', path, join(place.directory, 'copy')], {}), { code: 0 });
  t.equal((await output('getfattr', ['-d', join(place.directory, 'copy')], {})).stdout, '');
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('updatedb is kept out, find is not; indexers=allow lets it', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  server.putObject(BUCKET, 'd/f', 'x');
  const updatedb = join(place.directory, 'updatedb');
  const { stdout: find } = await output('which', ['find'], {});
  await copyFile(find.trim(), updatedb);
  await place.mount();
  t.match(await output(updatedb, [mountPoint], {}), { code: 1, stderr: /Permission denied/ });
  t.match((await output('find', [mountPoint], {})).stdout, /d\/f/);
  t.match(await output('du', ['-s', mountPoint], {}), { code: 0 });
  const logs = join(place.directory, 'state/log');
  const log = await readFile(join(logs, (await readdir(logs))[0]!), 'utf8');
  t.equal(log.split('kept from indexing').length, 2, 'told once');
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
  await place.mount('indexers=allow');
  t.match((await output(updatedb, [mountPoint], {})).stdout, /d\/f/);
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});
