import { join } from 'node:path';
import t from 'tap';
import { type CliError, EXIT } from '../../src/cli/exit-codes.ts';
import { openJournal } from '../../src/cli/open-journal.ts';
import { parseOptionList } from '../../src/cli/option-words.ts';
import { readConfig } from '../../src/cli/options.ts';
import { silentTelemetry } from '../../src/telemetry.ts';

const SHARE = 1024 * 1024;

t.test('a journal that was asked for and cannot be had is no reason to mount without it', async t => {
  const directory = t.testdir({ file: 'not a directory' });
  const blocked = join(directory, 'file');
  const config = (list: string) =>
    readConfig({ positional: ['works', '/mnt/works'], words: parseOptionList(list) }, { env: {}, cwd: directory });
  const { log } = silentTelemetry;
  for (const list of [`journal=${blocked}`, `write_back,state_dir=${blocked}`]) {
    const failure = await openJournal(config(list), SHARE, log).catch((error: CliError) => error.exitCode);
    t.equal(failure, EXIT.state, list);
  }
  t.equal(await openJournal(config(`state_dir=${blocked}`), SHARE, log), undefined, 'nobody asked for one');
});
