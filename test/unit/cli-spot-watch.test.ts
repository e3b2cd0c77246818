import t from 'tap';
import { isOnEc2, SpotWatch } from '../../src/cli/spot-watch.ts';
import { systemClock } from '../../src/concurrency.ts';
import { InstanceMetadata } from '../../src/s3/instance-metadata.ts';
import { credentialEndpoints } from '../support/credential-endpoints.ts';

const KEYS = { accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' };
const LIFE_CYCLE = 'instance-life-cycle';
const ACTION = 'spot/instance-action';
const REBALANCE = 'events/recommendations/rebalance';

/** A watch over a table of answers; each of `rounds` runs between two looks. */
async function watch(
  told: Map<string, string | Error>,
  rounds: readonly (() => void)[],
  options: { readonly save?: () => Promise<boolean> } = {},
) {
  const asked: string[] = [];
  const lines: string[] = [];
  const statuses: string[] = [];
  const state = { files: 0, saves: 0, pauses: 0 };
  const log = (_: object, line: string): void => void lines.push(line);
  const left = [...rounds];
  const spot: SpotWatch = new SpotWatch({
    ask: async path => {
      asked.push(path);
      const answer = told.get(path);
      if (answer instanceof Error) throw answer;
      return answer === undefined ? { status: 404, text: '' } : { status: 200, text: answer };
    },
    save:
      options.save ??
      (async () => {
        state.saves++;
        state.files = 0;
        return true;
      }),
    unsaved: () => ({ bytes: state.files * 10, files: state.files }),
    log: { debug: log, info: log, warn: log, error: log },
    status: text => void statuses.push(text),
    pause: async ms => {
      t.equal(ms, 5_000);
      state.pauses++;
      const next = left.shift();
      if (next === undefined) spot.stop();
      else next();
    },
  });
  return { spot, asked, lines, statuses, state };
}

t.test('an interruption: saved at once, and from then on whatever is written', async t => {
  const told = new Map<string, string | Error>([[LIFE_CYCLE, 'spot']]);
  const { spot, lines, statuses, state } = await watch(told, [
    () => {
      t.equal(state.saves, 0, 'nothing is planned');
      state.files = 3;
      told.set(ACTION, '{"action":"terminate","time":"2026-11-21T08:22:00Z"}');
    },
    () => t.equal(state.saves, 1),
    () => {
      t.equal(state.saves, 1, 'nothing was written meanwhile');
      state.files = 1;
    },
    () => t.equal(state.saves, 2),
  ]);
  await spot.run();
  t.match(lines, [
    /a Spot instance/,
    'AWS will terminate this instance at 2026-11-21T08:22:00Z; what is unsaved is sent to S3 now',
    /is in S3/,
  ]);
  t.match(statuses, [/saving 30 bytes in 3 files/, /; all is saved/, /saving 10 bytes in 1 file$/, /; all is saved/]);
  t.same(spot.notice, { kind: 'interruption', action: 'terminate', time: '2026-11-21T08:22:00Z', saved: true });
});

t.test('a rebalance recommendation is answered once, and an interruption after it too', async t => {
  const told = new Map<string, string | Error>([
    [LIFE_CYCLE, 'spot'],
    [REBALANCE, '{"noticeTime":"2026-11-21T08:00:00Z"}'],
  ]);
  const { spot, state } = await watch(told, [
    () => {
      t.same(spot.notice, { kind: 'rebalance', time: '2026-11-21T08:00:00Z', saved: true });
      state.files = 1;
    },
    () => {
      t.equal(state.saves, 1, 'write_back goes on as it was');
      told.set(ACTION, '{"action":"stop","time":"2026-11-21T09:00:00Z"}');
    },
  ]);
  await spot.run();
  t.equal(state.saves, 2);
  t.match(spot.notice, { kind: 'interruption', action: 'stop' });
});

t.test('who is no Spot instance is asked once', async t => {
  const { spot, asked } = await watch(new Map([[LIFE_CYCLE, 'on-demand']]), []);
  await spot.run();
  t.same(asked, [LIFE_CYCLE]);
});

t.test('a service that does not answer is given up at the start, and waited for later', async t => {
  const told = new Map<string, string | Error>([[LIFE_CYCLE, new Error('nobody')]]);
  const nobody = await watch(told, [() => {}, () => {}, () => {}, () => {}]);
  await nobody.spot.run();
  t.equal(nobody.asked.length, 3);
  const later = new Map<string, string | Error>([
    [LIFE_CYCLE, 'spot'],
    [ACTION, new Error('nobody')],
    [REBALANCE, 'no JSON'],
  ]);
  const { spot, state } = await watch(later, [
    () => {},
    () => later.set(ACTION, '{"action":"terminate","time":"2026-11-21T08:22:00Z"}'),
  ]);
  await spot.run();
  t.equal(state.saves, 1);
});

t.test('what could not be saved is told', async t => {
  const told = new Map([
    [LIFE_CYCLE, 'spot'],
    [ACTION, '{"action":"hibernate","time":"2026-11-21T08:22:00Z"}'],
  ]);
  const { spot, statuses } = await watch(told, [], { save: async () => Promise.reject(new Error('S3 is away')) });
  await spot.run();
  t.match(statuses.at(-1), /NOT all is saved/);
  t.equal(spot.notice?.saved, false);
});

t.test('the metadata service: version 2, a new token when the old one is refused', async t => {
  const service = await credentialEndpoints(t, KEYS);
  service.told.set(LIFE_CYCLE, 'spot');
  const metadata = new InstanceMetadata(service.url, systemClock);
  t.teardown(() => metadata.close());
  t.same(await metadata.get(LIFE_CYCLE), { status: 200, text: 'spot' });
  t.equal((await metadata.get(ACTION))?.status, 404);
  service.told.set(ACTION, '{}');
  t.same(await metadata.get(ACTION), { status: 200, text: '{}' });
  t.same(service.asked.filter(line => line.startsWith('PUT')).length, 1, 'one token for all');
  service.refuseTokens = 1;
  t.equal((await metadata.get(LIFE_CYCLE))?.text, 'spot');
  t.same(service.asked.filter(line => line.startsWith('PUT')).length, 2);
});

t.test('EC2 is known by what the kernel says of the machine', async t => {
  const machine = (files: Record<string, string>) => (path: string) => {
    const text = files[path];
    if (text === undefined) throw new Error('ENOENT');
    return text;
  };
  t.equal(isOnEc2(machine({ '/sys/devices/virtual/dmi/id/sys_vendor': 'Amazon EC2\n' })), true);
  t.equal(isOnEc2(machine({ '/sys/hypervisor/uuid': 'ec2e1916-9099-7caf-fd21-012345abcdef\n' })), true);
  t.equal(isOnEc2(machine({ '/sys/devices/virtual/dmi/id/sys_vendor': 'QEMU\n' })), false);
  t.equal(isOnEc2(machine({})), false);
});
