/** Bar charts as SVG, written by hand: no script, no font of its own, readable on white and on dark pages. */

export interface Bar {
  readonly series: string;
  readonly value: number;
  /** Stands behind the bar. */
  readonly text: string;
}

export interface BarRow {
  readonly label: string;
  readonly bars: readonly Bar[];
}

export interface BarChart {
  readonly title: string;
  /** Below the axis. */
  readonly axis: string;
  /** In the order of the legend. */
  readonly series: readonly string[];
  readonly rows: readonly BarRow[];
  /** Bars start here, to either side: 1 for ratios. Without it they start at the left edge. */
  readonly baseline?: number;
}

/** Told apart by people who see colours differently (Okabe and Ito); beyond eight they repeat. */
export const COLOURS = ['#0072b2', '#56b4e9', '#009e73', '#d55e00', '#e69f00', '#999999', '#cc79a7', '#f0e442'];

const LABEL_WIDTH = 130;
const PLOT_WIDTH = 620;
const TEXT_WIDTH = 70;
const BAR_HEIGHT = 9;
const ROW_GAP = 8;
const HEAD = 64;
const FOOT = 44;

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Powers of ten around all values: the axis is logarithmic, for times from 10 ms to 10 minutes stand side by side. */
export function decades(values: readonly number[]): { readonly from: number; readonly to: number } {
  const positive = values.filter(value => value > 0);
  if (positive.length === 0) return { from: 0, to: 1 };
  const from = Math.floor(Math.log10(Math.min(...positive)));
  const to = Math.ceil(Math.log10(Math.max(...positive)));
  return { from, to: to > from ? to : from + 1 };
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function tickText(exponent: number): string {
  return exponent >= 0 ? (10 ** exponent).toLocaleString('en') : (10 ** exponent).toFixed(-exponent);
}

/** Values of 0 and below have no bar, only their text. */
export function barChart(chart: BarChart): string {
  const { title, axis, series, rows, baseline } = chart;
  const values = rows.flatMap(row => row.bars.map(bar => bar.value));
  const { from, to } = decades(baseline === undefined ? values : [...values, baseline]);
  const x = (value: number): number => LABEL_WIDTH + ((Math.log10(value) - from) / (to - from)) * PLOT_WIDTH;
  const colour = (name: string): string => COLOURS[series.indexOf(name) % COLOURS.length] ?? '#000000';
  const width = LABEL_WIDTH + PLOT_WIDTH + TEXT_WIDTH;
  const bodyHeight = rows.reduce((sum, row) => sum + row.bars.length * BAR_HEIGHT + ROW_GAP, 0);
  const height = HEAD + bodyHeight + FOOT;
  const parts: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11" fill="#222222">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="8" y="20" font-size="14" font-weight="bold">${escapeXml(title)}</text>`,
  ];
  let legend = 8;
  for (const name of series) {
    parts.push(`<rect x="${legend}" y="32" width="10" height="10" fill="${colour(name)}"/>`);
    parts.push(`<text x="${legend + 14}" y="41">${escapeXml(name)}</text>`);
    // Half of the font's size is about the width of a letter.
    legend += 30 + name.length * 6;
  }
  for (let exponent = from; exponent <= to; exponent++) {
    const at = round(x(10 ** exponent));
    parts.push(`<line x1="${at}" y1="${HEAD - 8}" x2="${at}" y2="${HEAD + bodyHeight}" stroke="#dddddd"/>`);
    parts.push(`<text x="${at}" y="${HEAD + bodyHeight + 14}" text-anchor="middle">${tickText(exponent)}</text>`);
  }
  parts.push(`<text x="${LABEL_WIDTH}" y="${HEAD + bodyHeight + 32}">${escapeXml(axis)}</text>`);
  const start = baseline === undefined ? LABEL_WIDTH : x(baseline);
  let y = HEAD;
  for (const row of rows) {
    const middle = y + (row.bars.length * BAR_HEIGHT) / 2 + 4;
    parts.push(`<text x="${LABEL_WIDTH - 6}" y="${round(middle)}" text-anchor="end">${escapeXml(row.label)}</text>`);
    for (const bar of row.bars) {
      const end = bar.value > 0 ? x(bar.value) : start;
      const left = Math.min(start, end);
      const length = Math.max(1, Math.abs(end - start));
      parts.push(
        `<rect x="${round(left)}" y="${y}" width="${round(length)}" height="${BAR_HEIGHT - 1}" fill="${colour(bar.series)}"/>`,
      );
      const textAt = round(Math.max(start, end) + 4);
      parts.push(`<text x="${textAt}" y="${y + BAR_HEIGHT - 1}" font-size="9">${escapeXml(bar.text)}</text>`);
      y += BAR_HEIGHT;
    }
    y += ROW_GAP;
  }
  if (baseline !== undefined) {
    const at = round(start);
    parts.push(`<line x1="${at}" y1="${HEAD - 8}" x2="${at}" y2="${HEAD + bodyHeight}" stroke="#222222"/>`);
  }
  return `${[...parts, '</svg>'].join('\n')}\n`;
}
