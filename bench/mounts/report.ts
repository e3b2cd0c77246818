/** What a benchmark found, as it is kept in JSON, and what can be read out of it. */
import type { Run } from './cell.ts';
import { RAW } from './contenders.ts';
import type { Floor, Plan } from './plan.ts';
import { floorOf } from './plan.ts';
import type { Profile } from './profiles.ts';
import { boundByServer, ratio, type Summary, summarize, WIDE_SPREAD } from './statistics.ts';
import type { Unit, Workload } from './workload.ts';

export interface FloorFigures {
  /** In the workload's unit; absent where there is none, as without latency and limit. */
  readonly value?: number;
  /** Absent for rates: one each. */
  readonly requests?: number;
}

export interface WorkloadEntry {
  readonly name: string;
  readonly title: string;
  readonly unit: Unit;
  readonly bytes?: number;
  /** By profile. `inTurn`: where close and unlink wait for S3. */
  readonly floors: Readonly<Record<string, { readonly atOnce: FloorFigures; readonly inTurn?: FloorFigures }>>;
}

export interface Cell {
  readonly profile: string;
  readonly workload: string;
  readonly contender: string;
  readonly runs: readonly Run[];
}

export interface Column {
  readonly name: string;
  readonly title: string;
  readonly ours: boolean;
  readonly writesBack: boolean;
}

export interface Report {
  readonly date: string;
  readonly scale: string;
  readonly version: string;
  readonly commit: string | undefined;
  readonly machine: readonly string[];
  readonly minutes: number;
  readonly profiles: readonly { readonly name: string; readonly title: string }[];
  readonly contenders: readonly Column[];
  readonly missing: readonly { readonly name: string; readonly reason: string }[];
  readonly workloads: readonly WorkloadEntry[];
  readonly cells: readonly Cell[];
}

function figures(floor: Floor): FloorFigures {
  return { requests: floor.requests, ...(floor.seconds > 0 ? { value: floor.seconds } : {}) };
}

export function entryOf(workload: Workload, profiles: readonly Profile[]): WorkloadEntry {
  const { name, title, unit, bytes, plan, planInTurn, rate } = workload;
  const of = (one: Plan, profile: Profile): FloorFigures => figures(floorOf(one, profile));
  const floors: Record<string, { atOnce: FloorFigures; inTurn?: FloorFigures }> = {};
  for (const profile of profiles) {
    if (rate) {
      const request = { do: 'get', key: '', offset: 0, length: rate.block } as const;
      const { seconds } = floorOf([{ requests: [request] }], profile);
      floors[profile.name] = { atOnce: seconds > 0 ? { value: rate.readers / seconds } : {} };
    } else if (plan) {
      const inTurn = planInTurn && { inTurn: of(planInTurn, profile) };
      floors[profile.name] = { atOnce: of(plan, profile), ...inTurn };
    }
  }
  return { name, title, unit, floors, ...(bytes === undefined ? {} : { bytes }) };
}

/** What the runs of a cell say together. */
export interface Figure {
  readonly status: Run['status'] | 'none';
  readonly summary: Summary | undefined;
  readonly settled: number | undefined;
  readonly wide: boolean;
  readonly note: string | undefined;
  /** The run in the middle: what CPU, memory and requests are told of. */
  readonly typical: Run | undefined;
}

const NO_FIGURE: Figure = {
  status: 'none',
  summary: undefined,
  settled: undefined,
  wide: false,
  note: undefined,
  typical: undefined,
};

/** Failed runs count only where no other is there: one that went wrong is told by its note. */
export function figureOf(runs: readonly Run[]): Figure {
  if (runs.length === 0) return NO_FIGURE;
  const failed = runs.find(run => run.status === 'failed');
  const good = runs.filter(run => run.status !== 'failed');
  if (failed || good.length === 0) {
    return { ...NO_FIGURE, status: 'failed', note: failed?.note, typical: failed };
  }
  const valued = good.filter(run => run.value !== undefined).sort((a, b) => a.value! - b.value!);
  const typical = valued[(valued.length - 1) >> 1] ?? good[0]!;
  const settled = good.flatMap(run => run.settledSeconds ?? []);
  const summary = valued.length > 0 ? summarize(valued.map(run => run.value!)) : undefined;
  const cut = good.find(run => run.status === 'cut-off');
  return {
    status: cut ? 'cut-off' : 'ok',
    summary,
    settled: settled.length > 0 ? summarize(settled).median : undefined,
    wide: (summary?.spread ?? 0) > WIDE_SPREAD,
    note: cut?.note ?? good.find(run => run.note !== undefined)?.note,
    typical,
  };
}

/** Cells by profile, workload and contender. */
export class Figures {
  readonly #figures = new Map<string, Figure>();

  constructor(report: Report) {
    for (const { profile, workload, contender, runs } of report.cells) {
      this.#figures.set(`${profile}/${workload}/${contender}`, figureOf(runs));
    }
  }

  get(profile: string, workload: string, contender: string): Figure {
    return this.#figures.get(`${profile}/${workload}/${contender}`) ?? NO_FIGURE;
  }
}

/** The median, in the workload's unit. */
export function medianOf(figure: Figure): number | undefined {
  return figure.summary?.median;
}

/** The same, but of a mount that returns before S3 has the bytes the time until S3 has them. */
function valueInS3(figure: Figure): number | undefined {
  const value = medianOf(figure);
  return value === undefined || figure.settled === undefined ? value : Math.max(value, figure.settled);
}

/** What stands at the end of a row. */
export function remarksOf(report: Report, figures: Figures, profile: string, entry: WorkloadEntry): string[] {
  const remarks: string[] = [];
  const rate = entry.unit === '/s';
  const raw = medianOf(figures.get(profile, entry.name, RAW));
  const ours = report.contenders.filter(column => column.ours);
  const bound = ours.filter(column => {
    const value = medianOf(figures.get(profile, entry.name, column.name));
    return value !== undefined && raw !== undefined && boundByServer(value, raw, rate);
  });
  if (bound.length === ours.length && bound.length > 0) remarks.push('bound by the server');
  else if (bound.length > 0) remarks.push(`bound by the server (${bound.map(({ name }) => name).join(', ')})`);
  const columns = [...report.contenders.map(({ name }) => name), RAW];
  const wide = columns.filter(name => figures.get(profile, entry.name, name).wide);
  if (wide.length > 0) remarks.push(`spread above ${WIDE_SPREAD * 100} % (${wide.join(', ')})`);
  return remarks;
}

/**
 * How many times as fast as the best of the others a contender of ours is, for each workload where both have a figure. One
 * that waits for S3 is compared with the time after which S3 had everything from the others, too.
 */
export function ratios(
  report: Report,
  figures: Figures,
  profile: string,
  contender: string,
): { readonly workload: string; readonly ratio: number }[] {
  const others = report.contenders.filter(column => !column.ours);
  const waits = report.contenders.some(({ name, writesBack }) => name === contender && !writesBack);
  return report.workloads.flatMap(entry => {
    const ours = medianOf(figures.get(profile, entry.name, contender));
    const values = others.flatMap(({ name }) => {
      const figure = figures.get(profile, entry.name, name);
      return (waits ? valueInS3(figure) : medianOf(figure)) ?? [];
    });
    if (ours === undefined || values.length === 0) return [];
    const rate = entry.unit === '/s';
    const best = rate ? Math.max(...values) : Math.min(...values);
    return [{ workload: entry.name, ratio: ratio(ours, best, rate) }];
  });
}
