/** Lines over time as SVG, one panel for each measure, since each has a scale of its own. The bar charts of the benchmark stand in `bench/mounts/svg.ts`. */
import { COLOURS, escapeXml } from '../../bench/mounts/svg.ts';

export interface Panel {
  /** With its unit. */
  readonly title: string;
  readonly values: readonly number[];
}

export interface LinePlot {
  readonly title: string;
  /** Of each value: minutes since the beginning. */
  readonly minutes: readonly number[];
  readonly panels: readonly Panel[];
}

const LEFT = 60;
const PLOT_WIDTH = 700;
const RIGHT = 20;
const HEAD = 36;
const PANEL_HEIGHT = 110;
/** Room for the panel's title above it. */
const PANEL_GAP = 30;
const FOOT = 36;
/** Lines across a panel, and along the axis of time: some five can be read. */
const TICKS = 5;

/** The next of 1, 2 and 5 times a power of ten that makes at most `TICKS` steps up to `most`. */
export function tickStep(most: number): number {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most / TICKS));
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step * TICKS >= most) ?? 10 * power;
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function ticks(most: number): number[] {
  const step = tickStep(most);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** All axes begin at zero: a line that looks steady is steady. */
export function linePlot({ title, minutes, panels }: LinePlot): string {
  const width = LEFT + PLOT_WIDTH + RIGHT;
  const height = HEAD + panels.length * (PANEL_HEIGHT + PANEL_GAP) + FOOT;
  const end = Math.max(...minutes, 1e-3);
  const x = (minute: number): number => LEFT + (minute / end) * PLOT_WIDTH;
  const parts: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11" fill="#222222">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="8" y="20" font-size="14" font-weight="bold">${escapeXml(title)}</text>`,
  ];
  panels.forEach((panel, i) => {
    const top = HEAD + i * (PANEL_HEIGHT + PANEL_GAP) + PANEL_GAP;
    const bottom = top + PANEL_HEIGHT;
    // A tenth above the highest point: it does not lie on the frame.
    const most = Math.max(...panel.values, 0) * 1.1 || 1;
    const y = (value: number): number => bottom - (value / most) * PANEL_HEIGHT;
    parts.push(`<text x="${LEFT}" y="${top - 8}" font-weight="bold">${escapeXml(panel.title)}</text>`);
    for (const tick of ticks(most)) {
      const at = round(y(tick));
      parts.push(`<line x1="${LEFT}" y1="${at}" x2="${LEFT + PLOT_WIDTH}" y2="${at}" stroke="#dddddd"/>`);
      parts.push(
        `<text x="${LEFT - 6}" y="${round(y(tick) + 4)}" text-anchor="end">${tick.toLocaleString('en')}</text>`,
      );
    }
    for (const tick of ticks(end)) {
      const at = round(x(tick));
      parts.push(`<line x1="${at}" y1="${top}" x2="${at}" y2="${bottom}" stroke="#eeeeee"/>`);
      if (i === panels.length - 1) {
        parts.push(`<text x="${at}" y="${bottom + 16}" text-anchor="middle">${tick.toLocaleString('en')}</text>`);
      }
    }
    const points = panel.values.map((value, at) => `${round(x(minutes[at] ?? 0))},${round(y(value))}`).join(' ');
    parts.push(`<polyline points="${points}" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="1.5"/>`);
  });
  parts.push(`<text x="${LEFT + PLOT_WIDTH}" y="${height - 6}" text-anchor="end">minutes</text>`);
  return `${[...parts, '</svg>'].join('\n')}\n`;
}
