/** docs/PERFORMANCE.md: the part between two marks is written by the benchmark, the rest by people. */
import { RAW } from './contenders.ts';
import { plotsOf } from './plots.ts';
import { CONNECTIONS } from './profiles.ts';
import type { Report } from './report.ts';
import { BOUND_FACTOR, WIDE_SPREAD } from './statistics.ts';
import { comparison, detailTable, summaryTable, toMarkdown } from './tables.ts';

const BEGIN = '<!-- bench: begin; written by `npm run bench -- --write-docs` -->';
const END = '<!-- bench: end -->';

const FRAME = `# Performance

What s3mount takes for common work, beside other mounts, plain HTTP and what is possible at all. The figures come from one
command on one machine, \`npm run bench\`; yours differ, the command is the same.

${BEGIN}
${END}
`;

const LEGEND = `How to read it:

- Each figure is the median of the runs; ± is largest minus smallest, by the median. ⚠: more than ${WIDE_SPREAD * 100} %. No ±: one run.
- \`a → b\`: the command returned after a, S3 had everything after b. ≈: cut off at the limit and reckoned from what was done. > limit: cut off, nothing to reckon from. ✘: failed or gave wrong bytes; the notes say why.
- Every mount is fresh, with empty caches, unless the row says "second" or "again". What was read is checked while it is read, what was written is read back from S3.
- \`${RAW}\`: the same requests by plain HTTP over ${CONNECTIONS} connections, unsigned, against the same server. Where it is not ${BOUND_FACTOR} times as fast as a mount, the row is "bound by the server".
- *floor*: the least time that latency and bandwidth allow on ${CONNECTIONS} connections, and the requests of that plan; *in turn* where close or unlink wait for S3, one after the other. A mount with more connections may be below it. Exact attributes (the default) cost a HEAD for each object that is seen for the first time, which the floor of \`ls -l\` and \`stat\` does not count.
- CPU seconds are those of the daemon; server, load and daemon share the machine.`;

export function section(report: Report): string {
  const parts = [
    BEGIN,
    '',
    `Measured ${report.date.slice(0, 10)} with s3mount ${report.version}${report.commit === undefined ? '' : ` (${report.commit})`}, ${report.scale === 'whole' ? 'at full size' : 'quick: an eighth of the bytes, a tenth of the files'}, in ${Math.round(report.minutes)} minutes.`,
    '',
    ...report.machine.map(line => `- ${line}`),
    `- ${report.contenders.map(({ title }) => title).join(', ')}; the embedded S3 server as a process of its own`,
    ...report.missing.map(({ name, reason }) => `- not measured: ${name}, ${reason}`),
    '',
    LEGEND,
  ];
  for (const { name, title } of report.profiles) {
    parts.push('', `## ${title[0]!.toUpperCase()}${title.slice(1)}`, '');
    for (const line of comparison(report, name)) parts.push(`- ${line}`);
    parts.push('', toMarkdown(summaryTable(report, name)), '');
    for (const plot of plotsOf(report, name)) parts.push(`![${plot.title}](img/${plot.name}.svg)`, '');
    parts.push('<details><summary>CPU, memory, requests and bytes of each</summary>', '');
    parts.push(toMarkdown(detailTable(report, name)), '', '</details>');
  }
  parts.push('', END);
  return parts.join('\n');
}

/** The document with its measured part replaced. Throws where a document has lost its marks. */
export function withSection(document: string | undefined, text: string): string {
  const whole = document ?? FRAME;
  const begin = whole.indexOf(BEGIN);
  const end = whole.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`docs/PERFORMANCE.md has lost its marks: ${BEGIN} and ${END}`);
  return whole.slice(0, begin) + text + whole.slice(end + END.length);
}
