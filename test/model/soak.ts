/** Checks properties one after another, a hundred runs of each at a time, until the time is over. Started by scripts/soak.mjs. */
import { parseArgs } from 'node:util';
import { PROPERTIES, type Property } from './properties.ts';
import { examine } from './property.ts';

const RUNS = 100;

const { values, positionals } = parseArgs({
  options: { minutes: { type: 'string', default: '60' }, seed: { type: 'string' } },
  allowPositionals: true,
});
const names = Object.keys(PROPERTIES);
const unknown = positionals.find(name => !names.includes(name));
if (unknown !== undefined) {
  console.error(`soak: there is no property '${unknown}'; there are ${names.join(', ')}.`);
  process.exit(2);
}
const chosen = positionals.length > 0 ? positionals : names;
const end = Date.now() + Number(values.minutes) * 60_000;
const totals = new Map(chosen.map(name => [name, 0]));
let failures = 0;
// Whoever knows the first seed can play the whole soak again.
let seed = Number(values.seed ?? Date.now() % 2 ** 31);
console.log(`soak: ${chosen.join(', ')} for ${values.minutes} minutes, from seed ${seed}`);
while (Date.now() < end) {
  for (const name of chosen) {
    const property = PROPERTIES[name as keyof typeof PROPERTIES] as Property<unknown>;
    const verdict = await examine(property, { runs: RUNS, seed: seed++ });
    totals.set(name, totals.get(name)! + verdict.runs);
    if (verdict.failure.length === 0) continue;
    failures++;
    console.log(`\n${name} has failed: ${property.title}\n${verdict.failure.join('\n')}\n`);
  }
  const memory = Math.round(process.memoryUsage().rss / 2 ** 20);
  console.log(
    `${[...totals].map(([name, runs]) => `${name} ${runs}`).join(', ')} runs, ${failures} failed, ${memory} MiB`,
  );
}
process.exitCode = failures > 0 ? 1 : 0;
