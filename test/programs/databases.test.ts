/** sqlite3: its locks, its journals, its shared memory. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run, withEnvironment } from '../support/processes.ts';

for (const mode of ['delete', 'wal'] as const) {
  t.test(`sqlite3, journal_mode=${mode}`, async t => {
    const mount = await aMount(t);
    const path = mount.path('data.db');
    const sql = (text: string): string => run('sqlite3', ['-bail', path], { input: `.timeout 20000\n${text}` });
    t.equal(sql(`PRAGMA journal_mode=${mode};`).trim(), mode);
    sql(`CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, n INTEGER);
      WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) INSERT INTO t (who, n) SELECT 'first', n FROM c;
      CREATE INDEX i ON t (n);`);
    t.equal(sql('SELECT count(*), sum(n) FROM t;').trim(), '5000|12502500');
    sql("BEGIN; DELETE FROM t; ROLLBACK; UPDATE t SET who = '둘' WHERE n % 2 = 0; VACUUM;");
    t.equal(sql("SELECT count(*) FROM t WHERE who = '둘';").trim(), '2500');
    t.equal(sql('PRAGMA integrity_check;').trim(), 'ok');

    // Two processes write in turns, as the locks let them.
    const writer = (who: string): Promise<string> =>
      new Promise(resolve => {
        const child = spawn('env', [...withEnvironment({ PATH: process.env['PATH'] }), 'sqlite3', '-bail', path], {
          stdio: ['pipe', 'ignore', 'pipe'],
        });
        let said = '';
        child.stderr.on('data', text => (said += text));
        child.once('close', code => resolve(`${code} ${said}`));
        child.stdin.end(
          `.timeout 20000\n${Array.from({ length: 15 }, (_, i) => `INSERT INTO t (who, n) VALUES ('${who}', ${i});`).join('\n')}\n`,
        );
      });
    t.same(await Promise.all([writer('one'), writer('two')]), ['0 ', '0 ']);
    t.equal(sql("SELECT who, count(*) FROM t WHERE who IN ('one', 'two') GROUP BY who;"), 'one|15\ntwo|15\n');
    t.equal(sql('PRAGMA integrity_check;').trim(), 'ok');

    // One that reads a snapshot while another writes: with a WAL it waits for nobody.
    if (mode === 'wal') {
      const reader = `BEGIN; SELECT count(*) FROM t WHERE who = 'late';
.shell sqlite3 -bail '${path}' "PRAGMA busy_timeout = 20000; INSERT INTO t (who, n) VALUES ('late', 1);" > /dev/null
SELECT count(*) FROM t WHERE who = 'late'; COMMIT; SELECT count(*) FROM t WHERE who = 'late';`;
      t.equal(sql(reader), '0\n0\n1\n', 'the snapshot holds until its end');
      sql("DELETE FROM t WHERE who = 'late';");
    }

    await mount.remount();
    t.equal(sql('PRAGMA integrity_check; SELECT count(*) FROM t;'), 'ok\n5030\n', 'in a fresh mount');
    run('cp', ['-r', mount.dir, join(mount.directory, 'copy')]);
    const copied = run('sqlite3', [
      join(mount.directory, 'copy/data.db'),
      'PRAGMA integrity_check; SELECT count(*) FROM t;',
    ]);
    t.equal(copied, 'ok\n5030\n', 'the copy');
    t.same(readdirSync(mount.dir), ['data.db'], 'no journal is left');
  });
}
