/** What the load has shown: as a plot, as a paragraph of docs/RELIABILITY.md, and in a word. */
import { MEMORY, PROCESSES, type Sample, steadinessOf } from '../support/load.ts';
import { linePlot } from './line-plot.ts';

export interface LoadReport {
  readonly date: string;
  readonly version: string;
  readonly commit: string | undefined;
  readonly machine: readonly string[];
  readonly seed: number;
  readonly seconds: number;
  readonly operations: number;
  readonly files: number;
  /** Requests to S3. */
  readonly requests: number;
  /** Bytes that went to S3, and came from there. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly mostResident: number;
  /** Empty if all was well. */
  readonly wrong: readonly string[];
  readonly series: readonly Sample[];
}

export const PLOT = 'soak-load';
const BEGIN = '<!-- soak: begin; written by `npm run soak -- load --write-docs` -->';
const END = '<!-- soak: end -->';
const MIB = 1024 * 1024;

export function titleOf(report: LoadReport): string {
  return `${PROCESSES} processes for ${minutesOf(report)} minutes: what the daemon takes`;
}

export function plotOf(report: LoadReport): string {
  const { series } = report;
  return linePlot({
    title: titleOf(report),
    minutes: series.map(({ seconds }) => seconds / 60),
    panels: [
      { title: 'resident memory, MiB', values: series.map(({ resident }) => resident / MIB) },
      { title: 'open descriptors', values: series.map(({ descriptors }) => descriptors) },
      { title: 'inodes that the kernel holds', values: series.map(({ inodes }) => inodes) },
    ],
  });
}

function minutesOf({ seconds }: LoadReport): string {
  return String(Math.round(seconds / 6) / 10);
}

const UNITS = { resident: MIB, descriptors: 1, inodes: 1 } as const;
const WORDS = { resident: 'MiB resident', descriptors: 'descriptors', inodes: 'inodes' } as const;

/** `resident: …` by measure. */
export function steadinessText(report: Pick<LoadReport, 'series'>): string[] {
  return steadinessOf(report.series).map(({ measure, before, after, isSteady }) => {
    const [first, last] = [before, after].map(value => Math.round(value / UNITS[measure]).toLocaleString('en'));
    return `${WORDS[measure]}: at most ${first} in the middle third, ${last} in the last${isSteady ? '' : ': NOT STEADY'}`;
  });
}

/** For the document; only of a load that went well. */
export function section(report: LoadReport): string {
  const count = (value: number): string => value.toLocaleString('en');
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
  const { version, commit } = report;
  return [
    BEGIN,
    '',
    `On ${report.date.slice(0, 10)} with s3mount ${version}${commit === undefined ? '' : ` (${commit})`}: ${PROCESSES} processes for ${minutesOf(report)} minutes on a mount with \`memory=${MEMORY / MIB}MiB\`, ${report.machine.join('; ')}.`,
    `${count(report.operations)} operations made ${count(report.requests)} requests; ${gib(report.bytesOut)} GiB went to S3, ${gib(report.bytesIn)} GiB came back. No process met an error or bytes that it had not written; after that`,
    `all ${count(report.files)} files, read in a fresh mount, had every byte, nothing else was there, and no upload was left. Of ${report.series.length} samples:`,
    '',
    ...steadinessText(report).map(line => `- ${line}`),
    '',
    `![${titleOf(report)}](img/${PLOT}.svg)`,
    '',
    END,
  ].join('\n');
}

/** The document with its measured part replaced. Throws where it has lost its marks. */
export function withSection(document: string, text: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`docs/RELIABILITY.md has lost its marks: ${BEGIN} and ${END}`);
  return document.slice(0, begin) + text + document.slice(end + END.length);
}
