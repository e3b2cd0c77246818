/** A full journal: how long writers wait for a link on which bytes go on arriving, and for one on which they do not. */
import t from 'tap';
import { JournalRoom } from '../../src/cache/journal-room.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { World } from '../support/unsaved-world.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** Somebody who waits in a full one, and when that ended. */
function aFullRoom() {
  const clock = new ManualClock();
  const state = { isFull: true, arrives: false, endedAt: undefined as number | undefined, code: '' };
  const room = new JournalRoom(
    clock,
    () => !state.isFull,
    () => 'it is full',
  );
  room.sending.add(() => state.arrives);
  const wait = (): void => {
    state.endedAt = undefined;
    const ended = (code: string) => (): void => {
      state.code = code;
      state.endedAt = clock.monotonic();
    };
    room.promise(1, false).then(ended('served'), error => ended(error.code)());
  };
  wait();
  return { clock, room, state, wait };
}

t.test('nothing arrives: ENOSPC after 30 s', async t => {
  const { clock, state } = aFullRoom();
  await clock.advance(30 * SECOND - 1);
  t.equal(state.endedAt, undefined);
  await clock.advance(1);
  t.same([state.code, state.endedAt], ['ENOSPC', clock.monotonic()]);
});

t.test('bytes go on arriving: waited for until they no longer do, and 30 s', async t => {
  const { clock, state } = aFullRoom();
  state.arrives = true;
  await clock.advance(5 * MINUTE);
  t.equal(state.endedAt, undefined);
  state.arrives = false;
  await clock.advance(30 * SECOND - 1);
  t.equal(state.endedAt, undefined);
  await clock.advance(10 * SECOND);
  t.equal(state.code, 'ENOSPC');
});

t.test('bytes arrive for ever, and S3 has nothing whole: ENOSPC in the end', async t => {
  const { clock, room, state, wait } = aFullRoom();
  state.arrives = true;
  await clock.advance(20 * MINUTE);
  room.progressed();
  await clock.advance(30 * MINUTE - SECOND);
  t.equal(state.endedAt, undefined, 'from the last that was whole');
  await clock.advance(40 * SECOND);
  t.equal(state.code, 'ENOSPC');
  wait();
  await clock.advance(0);
  t.ok(state.endedAt, 'and at once then');
});

t.test('room is there while bytes arrive', async t => {
  const { clock, room, state } = aFullRoom();
  state.arrives = true;
  await clock.advance(3 * MINUTE);
  state.isFull = false;
  room.freed();
  await clock.advance(0);
  t.equal(state.code, 'served');
});

t.test('write_back: a PUT that takes minutes over a slow link makes room, and nobody is told ENOSPC', async t => {
  const world = new World();
  const { kernel, journal, filesystem } = await world.mount(MIB, 64 * MIB, { writeBack: true, isLogged: false });
  let arrived = (): void => {};
  const whole = new Promise<void>(resolve => {
    arrived = resolve;
  });
  world.store.intercept(async (call, proceed) => {
    if (call.operation === 'PutObject') await whole;
    return proceed();
  });
  let sent = 0;
  journal.room.sending.add(() => sent++ < 20);
  for (let i = 0; i < 8; i++) {
    const file = await world.until(kernel.open(`/f${i}`, O_WRONLY | O_CREAT));
    await world.until(kernel.write(file, 0, Buffer.alloc(100 * KIB, i)));
    await world.until(kernel.close(file));
  }
  const file = await world.until(kernel.open('/last', O_WRONLY | O_CREAT));
  let code: string | undefined;
  const written = kernel.write(file, 0, Buffer.alloc(200 * KIB, 1)).then(
    () => 'written',
    error => error.code,
  );
  void written.then(outcome => {
    code = outcome;
  });
  await world.clock.advance(3 * MINUTE);
  t.equal(code, undefined, 'it waits');
  arrived();
  t.equal(await world.until(written), 'written');
  await world.until(kernel.close(file));
  await world.until(filesystem.drain());
  t.equal(world.store.bytes('last')?.length, 200 * KIB);
});
