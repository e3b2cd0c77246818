/** `load.ts SECONDS SEED DIRECTORY [write-docs]`: the load on a real mount; its series and plot into DIRECTORY. Ends with 1 if anything was wrong. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeCommit, describeMachine } from '../../bench/mounts/machine.ts';
import { differences, load, MEMORY, MOST_RESIDENT, type Sample, steadinessOf } from '../support/load.ts';
import { aMount, type Owner } from '../support/mount.ts';
import { type LoadReport, PLOT, plotOf, section, steadinessText, withSection } from './load-report.ts';

const MIB = 1024 * 1024;
/** Beside the load: to save what is unsaved at its end, to mount again, and to read all of it on a busy machine. */
const BEFORE_AND_AFTER = 900;
/** ms from one line to the next. */
const PROGRESS = 60_000;

const [seconds = NaN, seed = NaN] = process.argv.slice(2, 4).map(Number);
const [directory = '', writeDocs] = process.argv.slice(4);
const root = fileURLToPath(new URL('../..', import.meta.url));

async function soak(owner: Owner, wrong: string[]): Promise<LoadReport> {
  const mount = await aMount(owner, { options: `memory=${MEMORY / MIB}MiB`, seconds: seconds + BEFORE_AND_AFTER });
  let told = Date.now();
  const onSample = (sample: Sample): void => {
    if (Date.now() - told < PROGRESS) return;
    told = Date.now();
    console.log(
      `${Math.round(sample.seconds)} s: ${Math.round(sample.resident / MIB)} MiB resident, ${sample.descriptors} descriptors, ${sample.inodes} inodes`,
    );
  };
  const { failed, files, operations, series } = await load(mount, { seconds, seed, onSample });
  wrong.push(...failed);
  const mostResident = mount.mostMemory();
  if (mostResident > MOST_RESIDENT) wrong.push(`${Math.round(mostResident / MIB)} MiB resident`);
  for (const { measure, isSteady } of steadinessOf(series)) if (!isSteady) wrong.push(`${measure}: not steady`);
  // Before the next daemon counts from zero.
  const { requests, version } = await mount.status();
  await mount.remount();
  wrong.push(...differences(mount, files));
  const uploads = await mount.client.openUploads();
  if (uploads > 0) wrong.push(`${uploads} uploads are left`);
  return {
    date: new Date().toISOString(),
    version,
    commit: describeCommit(root),
    machine: describeMachine(),
    seed,
    seconds,
    operations,
    files: files.size,
    requests: Object.values(requests.byKind).reduce((sum, count) => sum + count, 0),
    bytesOut: requests.bytesOut,
    bytesIn: requests.bytesIn,
    mostResident,
    wrong,
    series,
  };
}

function write(report: LoadReport): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${PLOT}.json`), `${JSON.stringify(report)}\n`);
  writeFileSync(join(directory, `${PLOT}.svg`), plotOf(report));
  if (writeDocs === undefined) return;
  // A document tells what holds: what went wrong belongs into a test first.
  if (report.wrong.length > 0) {
    console.log('the documents are left as they are');
    return;
  }
  const document = join(root, 'docs/RELIABILITY.md');
  writeFileSync(document, withSection(readFileSync(document, 'utf8'), section(report)));
  writeFileSync(join(root, `docs/img/${PLOT}.svg`), plotOf(report));
}

const wrong: string[] = [];
const endings: (() => unknown)[] = [];
try {
  const report = await soak(
    {
      teardown: ending => void endings.push(ending as () => unknown),
      passing: () => wrong.length === 0,
      comment: (...lines) => console.log(...lines),
    },
    wrong,
  );
  write(report);
  console.log(
    [
      `${report.operations} operations, ${report.requests} requests, ${report.files} files compared`,
      ...steadinessText(report),
    ].join('\n'),
  );
} catch (error) {
  wrong.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
} finally {
  for (const ending of endings.reverse()) await ending();
}
for (const line of wrong) console.log(`WRONG (seed ${seed}): ${line}`);
process.exitCode = wrong.length > 0 ? 1 : 0;
