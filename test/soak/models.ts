/** `models.ts MINUTES SEED NAME…`: checks properties one after another, a hundred runs of each at a time, until the time is over. */
import { PROPERTIES, type Property } from '../model/properties.ts';
import { examine } from '../model/property.ts';

const RUNS = 100;

const [minutes, first, ...chosen] = process.argv.slice(2);
const end = Date.now() + Number(minutes) * 60_000;
const totals = new Map(chosen.map(name => [name, 0]));
let failures = 0;
// Whoever knows the first seed can play the whole soak again.
let seed = Number(first);
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
