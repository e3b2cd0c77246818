/** The report as charts. */
import { RAW } from './contenders.ts';
import { Figures, type Report, ratios } from './report.ts';
import { type BarChart, type BarRow, barChart } from './svg.ts';
import { digits, figureText } from './tables.ts';

export interface Plot {
  /** Of its file, without `.svg`. */
  readonly name: string;
  /** For who does not see it. */
  readonly title: string;
  readonly svg: string;
}

function plot(name: string, chart: BarChart): Plot[] {
  return chart.rows.length === 0 ? [] : [{ name, title: chart.title, svg: barChart(chart) }];
}

export function plotsOf(report: Report, profile: string): Plot[] {
  const figures = new Figures(report);
  const ours = report.contenders.filter(column => column.ours).map(({ name }) => name);
  const columns = [...report.contenders.map(({ name }) => name), RAW];

  const ahead = ours.map(name => ({ name, ratios: ratios(report, figures, profile, name) }));
  const ratioRows: BarRow[] = report.workloads.flatMap(({ name: workload }) => {
    const bars = ahead.flatMap(({ name, ratios }) => {
      const value = ratios.find(one => one.workload === workload)?.ratio;
      return value === undefined ? [] : [{ series: name, value, text: digits(value) }];
    });
    return bars.length === 0 ? [] : [{ label: workload, bars }];
  });

  const rowsOf = (units: readonly string[]): BarRow[] =>
    report.workloads.flatMap(entry => {
      if (!units.includes(entry.unit)) return [];
      const bars = columns.flatMap(name => {
        const figure = figures.get(profile, entry.name, name);
        return figure.summary ? [{ series: name, value: figure.summary.median, text: figureText(figure) }] : [];
      });
      return bars.length === 0 ? [] : [{ label: entry.name, bars }];
    });

  const requestRows: BarRow[] = report.workloads.flatMap(entry => {
    // Of a rate there are as many as the reader makes, and of a run that was cut off not all.
    if (entry.unit !== 's') return [];
    const bars = columns.flatMap(name => {
      const figure = figures.get(profile, entry.name, name);
      if (figure.status !== 'ok' || !figure.typical) return [];
      const value = Object.values(figure.typical.requests).reduce((sum, count) => sum + count, 0);
      return [{ series: name, value, text: value.toLocaleString('en') }];
    });
    return bars.length === 0 ? [] : [{ label: entry.name, bars }];
  });

  const title = profile === 's3' ? 'latency like S3' : 'no latency';
  return [
    ...plot(`bench-${profile}-ahead`, {
      title: `How many times as fast as the best other mount (${title})`,
      axis: 'to the right of 1: faster',
      series: ours,
      rows: ratioRows,
      baseline: 1,
    }),
    ...plot(`bench-${profile}-seconds`, {
      title: `Seconds (${title}); shorter is better`,
      axis: 'seconds, logarithmic',
      series: columns,
      rows: rowsOf(['s']),
    }),
    ...plot(`bench-${profile}-rates`, {
      title: `Random reads per second (${title}); longer is better`,
      axis: 'reads per second, logarithmic',
      series: columns,
      rows: rowsOf(['/s']),
    }),
    ...plot(`bench-${profile}-requests`, {
      title: `S3 requests (${title}); shorter is better`,
      axis: 'requests, logarithmic',
      series: columns,
      rows: requestRows,
    }),
  ];
}
