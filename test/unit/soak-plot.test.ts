/** The load's series as a plot and as a paragraph. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { linePlot, tickStep } from '../soak/line-plot.ts';
import { type LoadReport, plotOf, section, withSection } from '../soak/load-report.ts';

t.test('steps of the axes are 1, 2 or 5 times a power of ten, and at most five', async t => {
  t.same([5, 5.1, 12, 21, 60, 240, 900].map(tickStep), [1, 2, 5, 5, 20, 50, 200]);
  t.same([0.4, 0].map(tickStep), [0.1, 1]);
});

t.test('axes begin at zero, and the last point stands at the right edge', async t => {
  const svg = linePlot({ title: 'a < b', minutes: [0, 30, 60], panels: [{ title: 'MiB', values: [0, 50, 100] }] });
  t.match(svg, /a &lt; b/);
  const [, points = ''] = /points="([^"]+)"/.exec(svg) ?? [];
  const [first, middle, last] = points.split(' ').map(point => point.split(',').map(Number));
  t.same([first![0], middle![0], last![0]], [60, 410, 760]);
  // A tenth of room above the highest, and the middle half way.
  const [bottom, top] = [first![1]!, last![1]!];
  t.equal(bottom - top, 100);
  t.equal(middle![1], (bottom + top) / 2);
  t.match(svg, />100</, 'the axis of values');
  t.match(svg, />60</, 'the axis of minutes');
});

t.test('a plot without a point, or of zeros, is a plot still', async t => {
  for (const values of [[], [0, 0]]) {
    const svg = linePlot({ title: 'x', minutes: values, panels: [{ title: 'y', values }] });
    t.notMatch(svg, /NaN|Infinity/);
  }
});

const MIB = 1024 * 1024;
const report: LoadReport = {
  date: '2026-11-22T01:00:00.000Z',
  version: '1.2.3',
  commit: 'abc',
  machine: ['2 × CPU', 'Linux'],
  seed: 7,
  seconds: 3300,
  operations: 1_234_567,
  files: 700,
  requests: 4321,
  bytesOut: 3 * 2 ** 30,
  bytesIn: 2 ** 30,
  mostResident: 250 * MIB,
  wrong: [],
  series: Array.from({ length: 12 }, (_, at) => ({
    seconds: at * 300,
    resident: (at < 8 ? 250 : 400) * MIB,
    descriptors: 90,
    inodes: 700,
  })),
};

t.test('the paragraph has the figures, and says what was not steady', async t => {
  const text = section(report);
  t.match(text, 'for 55 minutes');
  t.match(text, '1,234,567 operations made 4,321 requests; 3.0 GiB went to S3, 1.0 GiB came back');
  t.match(text, 'MiB resident: at most 250 in the middle third, 400 in the last: NOT STEADY');
  t.match(text, 'descriptors: at most 90 in the middle third, 90 in the last\n');
  t.match(text, '(img/soak-load.svg)');
  t.equal(plotOf(report).split('<polyline').length - 1, 3);
});

t.test('it takes the place of the last one, and nothing else', async t => {
  const document = readFileSync(new URL('../../docs/RELIABILITY.md', import.meta.url), 'utf8');
  const once = withSection(document, section(report));
  const cut = (text: string): string => text.replace(/<!-- soak: begin[\s\S]*<!-- soak: end -->/, '');
  t.match(once, '1,234,567 operations');
  t.equal(cut(once), cut(document));
  const twice = withSection(once, section({ ...report, operations: 5 }));
  t.notMatch(twice, '1,234,567');
  t.throws(() => withSection('no marks', section(report)), /lost its marks/);
});
