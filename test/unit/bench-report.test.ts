import fc from 'fast-check';
import t from 'tap';
import type { Run } from '../../bench/mounts/cell.ts';
import { QUICK, WHOLE } from '../../bench/mounts/data-sets.ts';
import { section, withSection } from '../../bench/mounts/document.ts';
import { plotsOf } from '../../bench/mounts/plots.ts';
import { PROFILES } from '../../bench/mounts/profiles.ts';
import { entryOf, Figures, figureOf, type Report, ratios, remarksOf } from '../../bench/mounts/report.ts';
import { firstRound, fits, furtherRound, type Task } from '../../bench/mounts/schedule.ts';
import { barChart, decades, escapeXml } from '../../bench/mounts/svg.ts';
import {
  comparison,
  detailTable,
  digits,
  figureText,
  requestsText,
  summaryTable,
  toMarkdown,
  toText,
} from '../../bench/mounts/tables.ts';
import { workloadsOf } from '../../bench/mounts/workloads.ts';

function run(value: number | undefined, more: Partial<Run> = {}): Run {
  return {
    status: 'ok',
    ...(value === undefined ? {} : { value }),
    done: 1,
    seconds: value ?? 30,
    cpu: 0.5,
    serverCpu: 0.25,
    loadCpu: 0.1,
    otherCpu: 0,
    peakBytes: 100 * 2 ** 20,
    requests: { GetObject: 3, ListObjectsV2: 1 },
    fetched: 2e6,
    sent: 0,
    ...more,
  };
}

const column = (name: string, ours: boolean, writesBack = false) => ({ name, title: name, ours, writesBack });

function report(cells: Readonly<Record<string, readonly Run[]>>): Report {
  const entries = workloadsOf(WHOLE).map(workload => entryOf(workload, PROFILES));
  const names = new Set(Object.keys(cells).map(key => key.split('/')[0]));
  return {
    date: '2026-11-21T12:00:00.000Z',
    scale: 'whole',
    version: '0.1.0',
    commit: 'abc1234',
    machine: ['2 × CPU'],
    minutes: 12,
    profiles: PROFILES,
    contenders: [column('s3mount', true), column('s3fs', false), column('rclone', false, true)],
    missing: [{ name: 'goofy', reason: 'not installed' }],
    workloads: entries.filter(({ name }) => names.has(name)),
    cells: Object.entries(cells).map(([key, runs]) => {
      const [workload = '', contender = ''] = key.split('/');
      return { profile: 's3', workload, contender, runs };
    }),
  };
}

t.test('what several runs say: the middle one, how far apart, and whether one went wrong', async t => {
  t.match(figureOf([run(3), run(1), run(2)]), { status: 'ok', summary: { median: 2, runs: 3 }, wide: true });
  t.match(figureOf([run(1), run(1.1)]), { wide: false });
  t.match(figureOf([run(1), run(undefined, { status: 'failed', note: 'EIO' }), run(2)]), {
    status: 'failed',
    note: 'EIO',
    summary: undefined,
  });
  t.match(figureOf([run(200, { status: 'cut-off', note: 'cut off' })]), {
    status: 'cut-off',
    summary: { median: 200 },
  });
  t.match(figureOf([]), { status: 'none' });
  t.equal(figureOf([run(1, { cpu: 9 }), run(2, { cpu: 5 }), run(3, { cpu: 1 })]).typical?.cpu, 5);
});

t.test('a figure as text', async t => {
  t.equal(figureText(figureOf([run(1.234)])), '1.23');
  t.equal(figureText(figureOf([run(1), run(1.1), run(1.05)])), '1.05 ±10%');
  t.equal(figureText(figureOf([run(1), run(2)])), '1.50 ±67% ⚠');
  t.equal(figureText(figureOf([run(0.77, { settledSeconds: 2.77 })])), '0.77 → 2.77');
  t.equal(figureText(figureOf([run(0.77, { settledSeconds: 0.78 })])), '0.77');
  t.equal(figureText(figureOf([run(240, { status: 'cut-off' })])), '≈240');
  t.equal(figureText(figureOf([run(undefined, { status: 'cut-off' })])), '> limit');
  t.equal(figureText(figureOf([run(undefined, { status: 'failed' })])), '✘');
  t.equal(figureText(figureOf([])), '–');
  t.equal(digits(0.0451), '0.045');
  t.equal(digits(45.67), '45.7');
  t.equal(digits(4567.8), '4568');
  t.equal(requestsText({ ListObjectsV2: 3, GetObject: 257, Strange: 1 }), '261: 257 GET, 3 LIST, 1 Strange');
  t.equal(requestsText({}), '0');
});

const sample = report({
  'seqread1/s3mount': [run(2), run(2.1), run(2.05)],
  'seqread1/s3fs': [run(8)],
  'seqread1/rclone': [run(4.1)],
  'seqread1/raw': [run(1.5)],
  'rand4k_1/s3mount': [run(40, { done: 100, fetched: 100 * 4096 * 32 })],
  'rand4k_1/s3fs': [run(20)],
  'rand4k_1/raw': [run(49)],
  'seqwrite1/s3mount': [run(3, { settledSeconds: 3 })],
  'seqwrite1/rclone': [run(1, { settledSeconds: 6 })],
  'cp_in/s3mount': [run(240, { status: 'cut-off', note: 'cut off after 30 s with 800 of 6400 done' })],
});

t.test(
  'how far ahead: rates count upwards, and who waits for S3 is compared with when the others had it there',
  async t => {
    const figures = new Figures(sample);
    const all = ratios(sample, figures, 's3', 's3mount');
    t.same(all, [
      { workload: 'seqread1', ratio: 2 },
      { workload: 'rand4k_1', ratio: 2 },
      { workload: 'seqwrite1', ratio: 2 },
    ]);
    t.match(comparison(sample, 's3'), [
      's3mount: 2.00 × the best other mount of each row (geometric mean of 3 rows); ahead on every row',
    ]);
    const cut = report({
      'seqread1/s3mount': [run(2)],
      'seqread1/s3fs': [run(4)],
      'ls_l_most/s3mount': [run(undefined, { status: 'cut-off' })],
      'ls_l_most/rclone': [run(3)],
    });
    t.match(comparison(cut, 's3')[0], /of 1 rows\); ahead on every row; no figure for ls_l_most$/);
    const back = {
      ...sample,
      contenders: sample.contenders.map(one => (one.ours ? { ...one, writesBack: true } : one)),
    };
    t.match(ratios(back, new Figures(back), 's3', 's3mount')[2], { workload: 'seqwrite1', ratio: 1 / 3 });
  },
);

t.test('remarks: bound by the server, and wide spreads by name', async t => {
  const figures = new Figures(sample);
  const [seqread1, rand] = sample.workloads;
  t.same(remarksOf(sample, figures, 's3', seqread1!), ['bound by the server']);
  t.same(remarksOf(sample, figures, 's3', rand!), ['bound by the server']);
  const apart = report({ 'seqread1/s3mount': [run(4), run(5)], 'seqread1/raw': [run(1)] });
  t.same(remarksOf(apart, new Figures(apart), 's3', apart.workloads[0]!), ['spread above 15 % (s3mount)']);
});

t.test('tables: every row has all columns; floors and bytes fetched per byte asked are told', async t => {
  for (const table of [summaryTable(sample, 's3'), detailTable(sample, 's3')]) {
    t.ok(table.rows.length > 0);
    for (const row of table.rows) t.equal(row.length, table.head.length);
    const text = toText(table).split('\n');
    t.equal(text.length, table.rows.length + 2);
    t.equal(toMarkdown(table).split('\n').length, table.rows.length + 2);
  }
  const details = toMarkdown(detailTable(sample, 's3'));
  t.match(details, /× 32\.0/);
  // Where close waits, the floor of cp_in is that of 6,400 PUTs one after the other.
  t.match(details, /\| cp_in \| s3mount \| ≈240 \| 1\.\d\d × \|/);
  t.match(toMarkdown(summaryTable(sample, 's3')), /in turn \d+ \(6400\)/);
});

t.test('the document: its measured part is replaced, the rest stays', async t => {
  const first = withSection(undefined, section(sample));
  t.match(first, /# Performance/);
  t.match(first, /Measured 2026-11-21 with s3mount 0\.1\.0 \(abc1234\)/);
  t.match(first, /not measured: goofy, not installed/);
  t.match(first, /img\/bench-s3-ahead\.svg/);
  const edited = first.replace('# Performance', '# Performance\n\nBy hand.');
  const second = withSection(edited, section({ ...sample, version: '0.2.0' }));
  t.match(second, /By hand\./);
  t.match(second, /s3mount 0\.2\.0/);
  t.notMatch(second, /s3mount 0\.1\.0/);
  t.equal(withSection(second, section({ ...sample, version: '0.2.0' })), second);
  t.throws(() => withSection('nothing', 'text'), /lost its marks/);
});

t.test('plots: one for each kind of figure, well-formed', async t => {
  const plots = plotsOf(sample, 's3');
  t.same(
    plots.map(({ name }) => name),
    ['bench-s3-ahead', 'bench-s3-seconds', 'bench-s3-rates', 'bench-s3-requests'],
  );
  for (const { svg } of plots) t.equal(svg.match(/<(rect|line)\b[^>]*[^/]>/g), null, 'every shape is closed');
  t.same(plotsOf(sample, 'none'), []);
});

t.test('bars: to the right of the baseline above it, to the left below, longer for more', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-4, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 12 }),
        fc.constantFrom(undefined, 1),
        (values, baseline) => {
          const svg = barChart({
            title: 'a < b & "c"',
            axis: 'x',
            series: ['s'],
            rows: values.map((value, i) => ({ label: `w${i}`, bars: [{ series: 's', value, text: '' }] })),
            ...(baseline === undefined ? {} : { baseline }),
          });
          const bars = [...svg.matchAll(/<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="8"/g)].map(match => ({
            left: Number(match[1]),
            width: Number(match[2]),
          }));
          if (bars.length !== values.length || svg.includes('NaN')) return false;
          const order = values.map((value, i) => ({ value, ...bars[i]! })).sort((a, b) => a.value - b.value);
          return order.every(
            (bar, i) => i === 0 || bar.left + bar.width >= order[i - 1]!.left + order[i - 1]!.width - 1.1,
          );
        },
      ),
      { numRuns: 50 },
    ),
  );
  t.equal(escapeXml('a < b & "c"'), 'a &lt; b &amp; &quot;c&quot;');
  t.same(decades([0.02, 300]), { from: -2, to: 3 });
  t.same(decades([1]), { from: 0, to: 1 });
  t.same(decades([0]), { from: 0, to: 1 });
});

t.test('further rounds: ours first, then the quick ones; what was cut off is not run again', async t => {
  const task = (contender: string, first: boolean): Task => ({
    profile: 's3',
    workload: 'w',
    contender,
    first,
    need: 0,
  });
  const tasks = [task('slow', false), task('ours', true), task('quick', false), task('cut', true), task('never', true)];
  const known = new Map([
    ['slow', { seconds: 9, done: false }],
    ['ours', { seconds: 5, done: false }],
    ['quick', { seconds: 1, done: false }],
    ['cut', { seconds: 30, done: true }],
  ]);
  t.same(
    furtherRound(tasks, one => known.get(one.contender)).map(({ contender }) => contender),
    ['ours', 'quick', 'slow'],
  );
  t.ok(fits(1000, 6000, 5));
  t.notOk(fits(1001, 6000, 5));
});

t.test('the first round with little time goes through all rows with what they need most', async t => {
  const task = (workload: string, need: Task['need']): Task => ({
    profile: 's3',
    workload,
    contender: `${need}`,
    first: true,
    need,
  });
  const tasks = [task('a', 0), task('a', 2), task('a', 1), task('b', 0), task('b', 1)];
  const shown = (order: readonly Task[]): string[] => order.map(({ workload, need }) => `${workload}${need}`);
  t.same(shown(firstRound(tasks, true)), ['a0', 'b0', 'a1', 'b1', 'a2']);
  t.same(shown(firstRound(tasks, false)), ['a0', 'a2', 'a1', 'b0', 'b1']);
});

t.test('every workload has what the harness needs of it', async t => {
  for (const scale of [WHOLE, QUICK]) {
    const workloads = workloadsOf(scale);
    t.equal(new Set(workloads.map(({ name }) => name)).size, workloads.length);
    for (const workload of workloads) {
      const place = { mount: '/mnt', scratch: '/scratch', tree: '/tree' };
      t.ok(JSON.stringify(workload.job(place)).length < 2 ** 24, workload.name);
      const floors = entryOf(workload, PROFILES).floors;
      if (workload.kind === undefined) t.ok(floors['s3'], `${workload.name} has a floor`);
      if (workload.outcome) t.ok(workload.changes, `${workload.name} changes its bucket`);
    }
  }
});
