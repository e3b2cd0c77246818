/**
 * The text that Prometheus reads (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4). Pure.
 * A sample is a name, labels and a number; a family is what belongs together under one name.
 */

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
  /** `_bucket`, `_sum`, `_count` of a histogram. */
  readonly suffix?: string;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly samples: readonly Sample[];
}

export function metricsText(families: readonly Family[]): string {
  let text = '';
  for (const { name, help, type, samples } of families) {
    text += `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
    for (const { labels = {}, value, suffix = '' } of samples) {
      const inner = Object.entries(labels).map(([label, said]) => `${label}="${escaped(said)}"`);
      text += `${name}${suffix}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${value}\n`;
    }
  }
  return text;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/** One number for each label value. */
export function byLabel(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

/**
 * Upper bounds in seconds: from an answer out of memory to an upload that hangs. A request within the region takes 10 to
 * 60 ms, so there they stand closest.
 */
export const SECONDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** Durations by name, counted into buckets. Names are few: they are those of operations. */
export class Histograms {
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { readonly buckets: number[]; sum: number; count: number }>();

  constructor(bounds: readonly number[] = SECONDS) {
    this.#bounds = bounds;
  }

  observe(name: string, seconds: number): void {
    let series = this.#series.get(name);
    if (series === undefined) {
      series = { buckets: this.#bounds.map(() => 0), sum: 0, count: 0 };
      this.#series.set(name, series);
    }
    series.sum += seconds;
    series.count++;
    const at = this.#bounds.findIndex(bound => seconds <= bound);
    if (at >= 0) series.buckets[at]!++;
  }

  samples(label: string): Sample[] {
    const samples: Sample[] = [];
    for (const [name, { buckets, sum, count }] of this.#series) {
      const labels = { [label]: name };
      let below = 0;
      this.#bounds.forEach((bound, i) => {
        below += buckets[i]!;
        samples.push({ suffix: '_bucket', labels: { ...labels, le: String(bound) }, value: below });
      });
      samples.push({ suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: count });
      samples.push({ suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: count });
    }
    return samples;
  }
}
