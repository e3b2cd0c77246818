/** The report as rows of text: for the terminal and for Markdown. */
import { RAW } from './contenders.ts';
import {
  type Column,
  type Figure,
  Figures,
  type FloorFigures,
  medianOf,
  type Report,
  ratios,
  remarksOf,
  type WorkloadEntry,
} from './report.ts';
import { geometricMean } from './statistics.ts';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Three digits that count. */
export function digits(value: number): string {
  if (value === 0) return '0';
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(value >= 0.1 ? 2 : 3);
}

/** S3 has everything so much later (seconds) that it is worth telling. */
const LATER = 0.1;

export function figureText(figure: Figure): string {
  if (figure.status === 'none') return '–';
  if (figure.status === 'failed') return '✘';
  if (!figure.summary) return '> limit';
  const { median, spread, runs } = figure.summary;
  let text = `${figure.status === 'cut-off' ? '≈' : ''}${digits(median)}`;
  if (figure.settled !== undefined && figure.settled > median + LATER) text += ` → ${digits(figure.settled)}`;
  if (runs > 1) text += ` ±${Math.round(spread * 100)}%`;
  return figure.wide ? `${text} ⚠` : text;
}

function floorText(floors: { readonly atOnce: FloorFigures; readonly inTurn?: FloorFigures } | undefined): string {
  if (!floors) return '–';
  const one = ({ value, requests }: FloorFigures): string => {
    const time = value === undefined ? '–' : digits(value);
    return requests === undefined ? time : `${time} (${requests})`;
  };
  return floors.inTurn ? `${one(floors.atOnce)}, in turn ${one(floors.inTurn)}` : one(floors.atOnce);
}

function unitText(entry: WorkloadEntry): string {
  return entry.unit === 's' ? entry.title : `${entry.title} (${entry.unit})`;
}

export function summaryTable(report: Report, profile: string): Table {
  const figures = new Figures(report);
  const columns = [...report.contenders.map(({ name }) => name), RAW];
  return {
    head: ['workload', 'what (seconds, unless it says otherwise)', ...columns, 'floor (requests)', 'remarks'],
    rows: report.workloads.map(entry => [
      entry.name,
      unitText(entry),
      ...columns.map(name => figureText(figures.get(profile, entry.name, name))),
      floorText(entry.floors[profile]),
      remarksOf(report, figures, profile, entry).join('; '),
    ]),
  };
}

const SHORT: Readonly<Record<string, string>> = {
  GetObject: 'GET',
  HeadObject: 'HEAD',
  PutObject: 'PUT',
  ListObjectsV2: 'LIST',
  ListObjects: 'LIST v1',
  CopyObject: 'copy',
  DeleteObject: 'DELETE',
  DeleteObjects: 'DELETE many',
  CreateMultipartUpload: 'begin',
  UploadPart: 'part',
  UploadPartCopy: 'copy part',
  CompleteMultipartUpload: 'complete',
};

/** `260: 257 GET, 3 LIST`. */
export function requestsText(requests: Readonly<Record<string, number>>): string {
  const entries = Object.entries(requests).sort(([, a], [, b]) => b - a);
  const total = entries.reduce((sum, [, count]) => sum + count, 0);
  if (entries.length === 0) return '0';
  return `${total}: ${entries.map(([name, count]) => `${count} ${SHORT[name] ?? name}`).join(', ')}`;
}

function megabytes(bytes: number): string {
  return digits(bytes / 1e6);
}

/** Above this share of the machine's time, whoever else ran may have changed the figure. */
const BUSY = 0.2;

function detailRow(
  entry: WorkloadEntry,
  column: Pick<Column, 'name' | 'writesBack'>,
  figure: Figure,
  profile: string,
): string[] {
  const run = figure.typical!;
  const floors = entry.floors[profile];
  const floor = column.writesBack ? floors?.atOnce : (floors?.inTurn ?? floors?.atOnce);
  const median = figure.summary?.median;
  let times = '';
  if (floor?.value !== undefined && median !== undefined) {
    times = `${digits(entry.unit === '/s' ? floor.value / median : median / floor.value)} ×`;
  }
  const perByte = entry.unit === '/s' && entry.bytes !== undefined && run.done > 0;
  const fetched = perByte
    ? `${megabytes(run.fetched)} (× ${digits(run.fetched / (run.done * entry.bytes!))})`
    : megabytes(run.fetched);
  const busy = run.seconds > 0.2 && run.otherCpu > BUSY * run.seconds;
  const notes = [figure.note ?? '', busy ? `others used ${digits(run.otherCpu)} s of CPU meanwhile` : ''];
  return [
    entry.name,
    column.name,
    figureText(figure),
    times,
    digits(run.cpu),
    digits(run.serverCpu),
    run.peakBytes > 0 ? (run.peakBytes / 2 ** 20).toFixed(0) : '',
    requestsText(run.requests),
    fetched,
    megabytes(run.sent),
    notes.filter(note => note !== '').join('; '),
  ];
}

export function detailTable(report: Report, profile: string): Table {
  const figures = new Figures(report);
  const columns = [...report.contenders, { name: RAW, writesBack: true }];
  return {
    head: [
      'workload',
      'by',
      'median',
      '÷ floor',
      'CPU s',
      'server CPU s',
      'peak MiB',
      'S3 requests',
      'MB fetched',
      'MB sent',
      'notes',
    ],
    rows: report.workloads.flatMap(entry =>
      columns.flatMap(column => {
        const figure = figures.get(profile, entry.name, column.name);
        return figure.typical ? [detailRow(entry, column, figure, profile)] : [];
      }),
    ),
  };
}

/** A sentence for each line of options of ours. */
export function comparison(report: Report, profile: string): string[] {
  const figures = new Figures(report);
  return report.contenders
    .filter(column => column.ours)
    .flatMap(({ name }) => {
      const all = ratios(report, figures, profile, name);
      if (all.length === 0) return [];
      const behind = all.filter(({ ratio }) => ratio < 1).map(({ workload, ratio }) => `${workload} ${digits(ratio)}`);
      const without = report.workloads.filter(
        entry =>
          figures.get(profile, entry.name, name).status !== 'none' &&
          medianOf(figures.get(profile, entry.name, name)) === undefined,
      );
      const mean = digits(geometricMean(all.map(({ ratio }) => ratio)));
      const rows = behind.length === 0 ? 'ahead on every row' : `behind on ${behind.join(', ')}`;
      const missing = without.length === 0 ? '' : `; no figure for ${without.map(entry => entry.name).join(', ')}`;
      return [
        `${name}: ${mean} × the best other mount of each row (geometric mean of ${all.length} rows); ${rows}${missing}`,
      ];
    });
}

const WIDE = /[ᄀ-ᅟ⺀-꓏가-힣豈-﫿＀-｠]/u;

function width(text: string): number {
  let sum = 0;
  for (const letter of text) sum += WIDE.test(letter) ? 2 : 1;
  return sum;
}

export function toText({ head, rows }: Table): string {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map(row => width(row[i] ?? ''))));
  const line = (row: readonly string[]): string =>
    row
      .map((text, i) => text + ' '.repeat(widths[i]! - width(text)))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map(count => '-'.repeat(count)).join('  '), ...rows.map(line)].join('\n');
}

export function toMarkdown({ head, rows }: Table): string {
  const line = (row: readonly string[]): string => `| ${row.map(text => text.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
