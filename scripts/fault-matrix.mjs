// Writes the tables of docs/RELIABILITY.md from a run of the fault matrix: node --import tsx scripts/fault-matrix.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { allCells, runMatrix } from '../test/faults/matrix.ts';
import { withTables } from '../test/faults/report.ts';

const path = new URL('../docs/RELIABILITY.md', import.meta.url);
const verdicts = await runMatrix(await allCells());
const wrong = verdicts.filter(({ wrongs }) => wrongs.length > 0);
for (const { cell, outcome, wrongs, ms } of wrong) {
  const { operation, request, nth, fault, span } = cell;
  const what = `${operation.name}: ${request} (${nth}), ${fault.name} ${span}: ${outcome} after ${Math.round(ms)} ms`;
  process.stderr.write(`${what}; ${wrongs.join('; ')}\n`);
}
writeFileSync(path, withTables(readFileSync(path, 'utf8'), verdicts));
process.stdout.write(`${verdicts.length} cells, ${wrong.length} with something wrong\n`);
process.exit(wrong.length === 0 ? 0 : 1);
