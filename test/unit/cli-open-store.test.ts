import t from 'tap';
import { storeOptions } from '../../src/cli/open-store.ts';
import { readConfig } from '../../src/cli/options.ts';

t.test('enable_unsigned_payload leaves the bytes out of the signature', async t => {
  const config = (options: string) =>
    readConfig(
      { positional: ['bucket', '/mnt'], words: options === '' ? [] : [{ name: options }] },
      { env: {}, cwd: '/', configDirectories: [] },
    );
  t.equal(storeOptions(config('')).signPayload, undefined);
  t.equal(storeOptions(config('enable_unsigned_payload')).signPayload, 'never');
});
