import t from 'tap';
import type { CredentialProvider } from '../../src/s3/credentials.ts';
import { CredentialCache } from '../../src/s3/credentials.ts';
import type { Credentials } from '../../src/s3/sigv4.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { ManualClock } from '../support/manual-clock.ts';

const MINUTE = 60_000;

/** Keys numbered by how often they were asked for, each good for an hour. */
function numbered(clock: ManualClock): { provider: CredentialProvider; readonly asked: number; broken: boolean } {
  let asked = 0;
  return {
    broken: false,
    get asked() {
      return asked;
    },
    async provider() {
      asked++;
      if (this.broken) throw new Error('the metadata service is away');
      return {
        accessKeyId: `KEY${asked}`,
        secretAccessKey: 's',
        sessionToken: 't',
        expiration: clock.now() + 60 * MINUTE,
      };
    },
  };
}

function setting(): { clock: ManualClock; source: ReturnType<typeof numbered>; cache: CredentialCache } {
  const clock = new ManualClock();
  const source = numbered(clock);
  return { clock, source, cache: new CredentialCache(() => source.provider(), clock, silentTelemetry) };
}

const keyOf = async (cache: CredentialCache): Promise<string | undefined> => (await cache.current())?.accessKeyId;

t.test('keys are kept while they hold', async t => {
  const { clock, source, cache } = setting();
  t.same(await Promise.all([keyOf(cache), keyOf(cache)]), ['KEY1', 'KEY1'], 'asked for once');
  await clock.advance(50 * MINUTE);
  t.notOk(cache.current() instanceof Promise, 'and are at hand at once');
  t.equal(source.asked, 1);
});

t.test('they are replaced before they expire, without anybody waiting', async t => {
  const { clock, source, cache } = setting();
  await cache.current();
  await clock.advance(56 * MINUTE);
  t.equal((cache.current() as Credentials).accessKeyId, 'KEY1', 'the old ones hold still');
  await clock.advance(0);
  t.equal((cache.current() as Credentials).accessKeyId, 'KEY2');
  t.equal(source.asked, 2);
});

t.test('a source that is away for a while', async t => {
  const { clock, source, cache } = setting();
  await cache.current();
  source.broken = true;
  await clock.advance(57 * MINUTE);
  t.equal(await keyOf(cache), 'KEY1');
  await clock.advance(1_000);
  t.equal(await keyOf(cache), 'KEY1');
  t.equal(source.asked, 2, 'it is not asked with every request');
  await clock.advance(5 * MINUTE);
  await t.rejects(Promise.resolve(cache.current()), { kind: 'forbidden', message: /metadata service is away/ });
  source.broken = false;
  t.equal(await keyOf(cache), 'KEY4', 'and all is well when it is back');
});

t.test('keys that S3 refuses', async t => {
  const { clock, source, cache } = setting();
  const first = (await cache.current()) as Credentials;
  t.equal(await cache.replaced(first), true);
  t.equal(await cache.replaced(first), true, 'others have been got in the meantime');
  t.equal(source.asked, 2);
  const second = (await cache.current()) as Credentials;
  t.equal(await cache.replaced(second), false, 'not again at once');
  await clock.advance(6_000);
  t.equal(await cache.replaced(second), true);
});

t.test('anonymous', async t => {
  const cache = new CredentialCache(undefined, new ManualClock(), silentTelemetry);
  t.equal(cache.anonymous, true);
  t.equal(cache.current(), undefined);
  t.equal(await cache.replaced(undefined), false);
});
