/** Ten thousand random operations a seed on files of a real mount, against a model in memory. */
import { randomInt } from 'node:crypto';
import t from 'tap';
import { Exerciser } from '../random/exerciser.ts';
import { LARGE, SMALL } from '../random/file-operations.ts';
import { HUNG } from '../support/limits.ts';
import { aMount } from '../support/mount.ts';

const { EXERCISE_SEED, EXERCISE_SEEDS = '0', EXERCISE_OPERATIONS } = process.env;

/** Two that are always run; as many as `EXERCISE_SEEDS` says that nobody has seen; `EXERCISE_SEED=…` plays one again. */
const SEEDS =
  EXERCISE_SEED === undefined
    ? [1, 2, ...Array.from({ length: Number(EXERCISE_SEEDS) }, () => randomInt(1, 2 ** 31))]
    : [Number(EXERCISE_SEED)];

for (const [title, shape, operations] of [
  ['files of some hundred kilobytes', SMALL, 6_000],
  ['files of several parts', LARGE, 600],
] as const) {
  t.test(title, async t => {
    const mount = await aMount(t, { seconds: Math.max(HUNG, 60 * SEEDS.length) });
    for (const seed of shape === LARGE ? SEEDS.slice(-1) : SEEDS) {
      const count = Number(EXERCISE_OPERATIONS ?? operations);
      await t.test(`EXERCISE_SEED=${seed}, ${count} operations`, () => new Exerciser(mount, shape, seed).run(count));
    }
  });
}
