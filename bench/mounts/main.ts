/** `npm run bench`: the command line, the rounds, and where the results go. Started by scripts/bench.mjs. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Run, runMountCell, runRawCell, type Surroundings } from './cell.ts';
import { type Contender, findContenders, type Missing, RAW } from './contenders.ts';
import { BUCKETS, BUCKETS_OF_NAMES, filesOf, QUICK, type Scale, WHOLE } from './data-sets.ts';
import { section, withSection } from './document.ts';
import { killLoads, runLoad } from './load-run.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { findTableReaders, makeTables } from './make-tables.ts';
import { plotsOf } from './plots.ts';
import { PROFILES, type Profile } from './profiles.ts';
import { entryOf, Figures, figureOf, type Report } from './report.ts';
import { firstRound, fits, furtherRound, type Task } from './schedule.ts';
import { BenchServer } from './server.ts';
import { tables } from './table-workloads.ts';
import { comparison, detailTable, figureText, requestsText, summaryTable, toText } from './tables.ts';
import type { Workload } from './workload.ts';
import { workloadsOf } from './workloads.ts';

const USAGE = `npm run bench -- [options]
  --quick              an eighth of the bytes, a tenth of the files, within 5 minutes (without: within 60)
  --only A,B           these workloads; a * stands for anything: 'rand*'
  --contenders A,B     these of s3mount, 's3mount stat=list', 's3mount write_back', s3fs, rclone, raw
  --profiles A,B       of s3 (latency and bandwidth like S3's) and none; quick: s3 only
  --rounds N           runs of each (3; quick: as many of 3 as the time allows)
  --limit S            seconds after which a run is cut off (30; quick: 6)
  --minutes M          no further run starts after so many (57; quick: 4.5)
  --write-docs         write the results into docs/PERFORMANCE.md and docs/img/
  --from FILE          no run: show the results in FILE (as in bench/results/)`;

interface Settings {
  readonly scale: Scale;
  readonly profiles: readonly Profile[];
  readonly only: readonly RegExp[];
  readonly contenders: readonly string[] | undefined;
  readonly rounds: number;
  readonly limit: number;
  readonly minutes: number;
  readonly writeDocs: boolean;
  readonly from: string | undefined;
}

/** A sentence for people; no stack. */
class Refusal extends Error {}

function pattern(text: string): RegExp {
  return new RegExp(`^${text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
}

function number(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!(Number(text) > 0)) throw new Refusal(`'${text}' is no number above 0`);
  return Number(text);
}

function parseSettings(args: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      contenders: { type: 'string' },
      profiles: { type: 'string' },
      rounds: { type: 'string' },
      limit: { type: 'string' },
      minutes: { type: 'string' },
      'write-docs': { type: 'boolean', default: false },
      from: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const { quick } = values;
  const names = (values.profiles ?? (quick ? 's3' : 's3,none')).split(',');
  const profiles = names.map(name => {
    const profile = PROFILES.find(one => one.name === name);
    if (!profile) throw new Refusal(`there is no profile '${name}'; known are s3, none`);
    return profile;
  });
  return {
    scale: quick ? QUICK : WHOLE,
    profiles,
    only: values.only?.split(',').map(pattern) ?? [/./],
    contenders: values.contenders?.split(','),
    rounds: number(values.rounds, 3),
    limit: number(values.limit, quick ? 6 : 30),
    minutes: number(values.minutes, quick ? 4.5 : 57),
    writeDocs: values['write-docs'],
    from: values.from,
  };
}

/** The bundle lies in bench/results/build/. */
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const RESULTS = join(ROOT, 'bench/results');

function writeFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

function show(report: Report): void {
  for (const { name, title } of report.profiles) {
    console.log(`\n${name}: ${title}\n`);
    console.log(toText(detailTable(report, name)));
    console.log(`\n${toText(summaryTable(report, name))}\n`);
    for (const line of comparison(report, name)) console.log(line);
  }
  for (const { name, reason } of report.missing) console.log(`not measured: ${name}, ${reason}`);
}

function writeDocs(report: Report): void {
  const file = join(ROOT, 'docs/PERFORMANCE.md');
  let old: string | undefined;
  try {
    old = readFileSync(file, 'utf8');
  } catch {
    // Its first version is written here.
  }
  mkdirSync(join(ROOT, 'docs/img'), { recursive: true });
  for (const { name } of report.profiles) {
    for (const plot of plotsOf(report, name)) writeFileSync(join(ROOT, 'docs/img', `${plot.name}.svg`), plot.svg);
  }
  writeFile(file, withSection(old, section(report)));
  console.log('written: docs/PERFORMANCE.md, docs/img/');
}

interface Plan {
  readonly settings: Settings;
  readonly workloads: readonly Workload[];
  readonly contenders: readonly Contender[];
  readonly missing: readonly Missing[];
}

function tasksOf({ settings, workloads, contenders }: Plan): Task[] {
  const wanted = (name: string): boolean => settings.contenders?.includes(name) ?? true;
  return settings.profiles.flatMap(({ name: profile }) =>
    workloads.flatMap((workload): Task[] => [
      ...contenders.map(contender => ({
        profile,
        workload: workload.name,
        contender: contender.name,
        first: contender.ours,
        need: needOf(contender, workload),
      })),
      ...(workload.raw && wanted(RAW)
        ? [{ profile, workload: workload.name, contender: RAW, first: true, need: 0 as const }]
        : []),
    ]),
  );
}

function needOf({ name, mode }: Contender, workload: Workload): Task['need'] {
  if (mode === 'defaults') return 0;
  if (mode === 'stat=list') return workload.attributes ? 1 : 2;
  if (mode === 'write_back') return workload.changes ? 1 : 2;
  return name === 's3fs' ? 1 : 2;
}

function keyOf(task: Task): string {
  return `${task.profile}/${task.workload}/${task.contender}`;
}

/** Runs everything there is time for; `stopped` ends it between two runs. */
async function measure(plan: Plan, surroundings: Surroundings, stopped: () => boolean): Promise<Map<string, Run[]>> {
  const { settings, workloads, contenders } = plan;
  const deadline = performance.now() + settings.minutes * 60_000;
  const tasks = tasksOf(plan);
  const runs = new Map<string, Run[]>();
  const seconds = new Map<string, number>();
  const runTask = async (task: Task): Promise<void> => {
    const start = performance.now();
    const workload = workloads.find(({ name }) => name === task.workload)!;
    const profile = settings.profiles.find(({ name }) => name === task.profile)!;
    const contender = contenders.find(({ name }) => name === task.contender);
    let run: Run;
    try {
      run = contender
        ? await runMountCell(workload, contender, profile, surroundings)
        : await runRawCell(workload, profile, surroundings);
    } catch (error) {
      run = failedRun(error instanceof Error ? error.message : String(error));
    }
    if (stopped()) return;
    runs.set(keyOf(task), [...(runs.get(keyOf(task)) ?? []), run]);
    const took = (performance.now() - start) / 1000;
    seconds.set(keyOf(task), took);
    const figure = figureOf([run]);
    const note = run.note === undefined ? '' : `  ${run.note}`;
    console.log(
      `${task.profile.padEnd(5)} ${task.workload.padEnd(18)} ${task.contender.padEnd(18)} ${figureText(figure).padStart(14)} ${workload.unit.padEnd(4)} ` +
        `cpu ${run.cpu.toFixed(2)} server ${run.serverCpu.toFixed(2)}  ${requestsText(run.requests)}${note}`,
    );
  };
  for (let round = 1; round <= settings.rounds && !stopped(); round++) {
    const known = (task: Task) => {
      const before = runs.get(keyOf(task));
      const took = seconds.get(keyOf(task));
      if (before === undefined || took === undefined) return undefined;
      return { seconds: took, done: before.some(run => run.status !== 'ok') };
    };
    const order = round === 1 ? firstRound(tasks, settings.scale.name === 'quick') : furtherRound(tasks, known);
    if (order.length === 0) break;
    console.log(`\nround ${round}: ${order.length} runs`);
    for (const task of order) {
      if (stopped()) break;
      if (fits(performance.now(), deadline, known(task)?.seconds ?? 0)) await runTask(task);
    }
  }
  return runs;
}

function failedRun(note: string): Run {
  return {
    status: 'failed',
    note,
    done: 0,
    seconds: 0,
    cpu: 0,
    serverCpu: 0,
    loadCpu: 0,
    otherCpu: 0,
    peakBytes: 0,
    requests: {},
    fetched: 0,
    sent: 0,
  };
}

async function runBenchmark(settings: Settings, work: string): Promise<{ report: Report; stopped: boolean }> {
  const began = performance.now();
  const { scale } = settings;
  const { found, missing: absent } = findContenders(join(ROOT, 'bin/s3mount'));
  const missing: Missing[] = [...absent];
  const contenders = found.filter(({ name }) => settings.contenders?.includes(name) ?? true);
  const readers = findTableReaders();
  const workloads = [...workloadsOf(scale), ...tables(scale, readers)].filter(({ name }) =>
    settings.only.some(one => one.test(name)),
  );
  if (workloads.length === 0) throw new Refusal('there is no such workload');
  const plan: Plan = { settings, workloads, contenders, missing };
  if (!readers.pandas) missing.push({ name: 'pandas', reason: 'python3 with pandas and pyarrow is not installed' });
  if (!readers.fread) missing.push({ name: 'fread', reason: 'R with data.table is not installed' });
  for (const { name, reason } of missing) console.log(`not measured: ${name}, ${reason}`);

  let stop = false;
  process.on('SIGINT', () => {
    stop = true;
    killLoads();
    console.log('\nending: what runs now is taken down');
  });
  const script = fileURLToPath(new URL('./embedded-s3/main.js', import.meta.url));
  const names = await BenchServer.start(script, [...BUCKETS_OF_NAMES], scale);
  const bytes = await BenchServer.start(
    script,
    BUCKETS.filter(bucket => !BUCKETS_OF_NAMES.has(bucket)),
    scale,
  );
  try {
    const tree = join(work, 'tree');
    if (workloads.some(({ name }) => name === 'cp_in')) {
      // Keys start with the name of the tree's root in the bucket; on disk it has a place of its own.
      const files = filesOf('tree', scale).map(file => ({ ...file, key: file.key.slice('t/'.length) }));
      await runLoad({ do: 'make-files', directory: tree, files }, 120).result;
    }
    if (workloads.some(({ bucket }) => bucket === 'tables')) {
      await makeTables(bytes.url, work, scale.table, readers);
      bytes.filled('tables');
    }
    const minutes = settings.minutes - (performance.now() - began) / 60_000;
    const runs = await measure(
      { ...plan, settings: { ...settings, minutes } },
      { servers: { names, bytes }, work, tree, limit: settings.limit },
      () => stop,
    );
    const report: Report = {
      date: new Date().toISOString(),
      scale: scale.name,
      version: (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version,
      commit: describeCommit(ROOT),
      machine: describeMachine(),
      minutes: (performance.now() - began) / 60_000,
      profiles: settings.profiles.map(({ name, title }) => ({ name, title })),
      contenders: contenders.map(({ name, title, ours, writesBack }) => ({ name, title, ours, writesBack })),
      missing,
      workloads: workloads.map(workload => entryOf(workload, settings.profiles)),
      cells: tasksOf(plan).flatMap(task => {
        const { profile, workload, contender } = task;
        const found = runs.get(keyOf(task));
        return found ? [{ profile, workload, contender, runs: found }] : [];
      }),
    };
    return { report, stopped: stop };
  } finally {
    await Promise.all([names.stop(), bytes.stop()]);
  }
}

/** Returns the exit code: 1 where a run of ours failed, 130 after Ctrl-C. */
async function main(args: readonly string[], work: string): Promise<number> {
  const settings = parseSettings(args);
  if (!settings) {
    console.log(USAGE);
    return 0;
  }
  let report: Report;
  let stopped = false;
  if (settings.from !== undefined) report = JSON.parse(readFileSync(settings.from, 'utf8')) as Report;
  else {
    ({ report, stopped } = await runBenchmark(settings, work));
    mkdirSync(RESULTS, { recursive: true });
    const json = `${JSON.stringify(report, undefined, 1)}\n`;
    const file = join(RESULTS, `${report.date.replaceAll(':', '-').slice(0, 19)}.json`);
    writeFile(file, json);
    writeFile(join(RESULTS, 'latest.json'), json);
    for (const { name } of report.profiles) {
      for (const plot of plotsOf(report, name)) writeFile(join(RESULTS, `${plot.name}.svg`), plot.svg);
    }
  }
  show(report);
  if (settings.from === undefined) console.log(`\nresults: bench/results/ (${report.minutes.toFixed(1)} minutes)`);
  if (stopped) return 130;
  if (settings.writeDocs) writeDocs(report);
  const figures = new Figures(report);
  const failed = report.cells.filter(({ profile, workload, contender }) => {
    const ours = contender === RAW || report.contenders.some(column => column.ours && column.name === contender);
    return ours && figures.get(profile, workload, contender).status === 'failed';
  });
  for (const { profile, workload, contender, runs } of failed) {
    console.log(`failed: ${profile} ${workload} ${contender}: ${figureOf(runs).note}`);
  }
  return failed.length > 0 ? 1 : 0;
}

const [work = '', ...args] = process.argv.slice(2);
try {
  process.exitCode = await main(args, work);
} catch (error) {
  const known = error instanceof Refusal || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  console.error(`bench: ${known ? (error as Error).message : (error as Error).stack}`);
  process.exitCode = 2;
}
