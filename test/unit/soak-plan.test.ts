import t from 'tap';
import { PROPERTIES } from '../model/properties.ts';
import { Refusal, soakPlan } from '../soak/plan.ts';

const NOW = 1_800_000_000_000;
const all = Object.keys(PROPERTIES);

t.test('without a word everything is made for an hour, with a million inputs', async t => {
  t.same(soakPlan([], NOW), {
    minutes: 60,
    seed: NOW % 2 ** 31,
    load: true,
    inputs: 1_000_000,
    properties: all,
    writeDocs: false,
  });
});

t.test('names choose: a part, a property, more of them', async t => {
  const only = (...names: string[]) => {
    const { load, inputs, properties } = soakPlan([...names, '--inputs', '7'], NOW)!;
    return [load, inputs, properties];
  };
  t.same(only('load'), [true, 0, []]);
  t.same(only('fuzz'), [false, 7, []]);
  t.same(only('models'), [false, 0, all]);
  t.same(only('crashes'), [false, 0, ['crashes']]);
  t.same(only('load', 'clients', 'fuzz'), [true, 7, ['clients']]);
});

t.test('fewer minutes are fewer inputs, unless they are named', async t => {
  t.equal(soakPlan(['--minutes', '0.5', 'fuzz'], NOW)?.inputs, 8334);
  t.equal(soakPlan(['--minutes', '10', '--inputs', '2000000'], NOW)?.inputs, 2_000_000);
  t.equal(soakPlan(['--seed', '42'], NOW)?.seed, 42);
});

t.test('what makes no sense is refused in a sentence', async t => {
  for (const [args, word] of [
    [['loud'], /no 'loud'; there are load, fuzz, models, filesystem/],
    [['--minutes', 'ten'], /--minutes .* not 'ten'/],
    [['--minutes', '0'], /--minutes/],
    [['--inputs', '-5'], /inputs/],
    [['--hours', '1'], /'--hours'/],
    [['--write-docs', 'crashes'], /name load too/],
  ] as const) {
    try {
      soakPlan(args, NOW);
      t.fail(`${args.join(' ')} was taken`);
    } catch (error) {
      t.ok(error instanceof Refusal);
      t.match((error as Error).message, word);
    }
  }
  t.equal(soakPlan(['--help'], NOW), undefined);
});
