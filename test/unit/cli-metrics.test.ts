/** Metrics: the text that Prometheus reads, who may read it, and a dashboard that asks for what there is. */
import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CliError } from '../../src/cli/exit-codes.ts';
import { MountMetrics } from '../../src/cli/metrics.ts';
import { type MetricsAddress, metricsAddress } from '../../src/cli/metrics-address.ts';
import { serveMetrics } from '../../src/cli/metrics-server.ts';
import { Histograms, metricsText } from '../../src/cli/metrics-text.ts';
import type { MountReport } from '../../src/cli/mount-report.ts';
import { MountTelemetry } from '../../src/cli/mount-telemetry.ts';

const REPORT: MountReport = {
  version: '1.2.3',
  pid: 1,
  uid: 0,
  bucket: 'b',
  prefix: '',
  endpoint: 'http://x',
  region: 'us-east-1',
  mountPoint: '/mnt/"quoted"',
  readOnly: false,
  since: '2026-01-01T00:00:00.000Z',
  seconds: 100,
  unsaved: {
    bytes: 7,
    files: 1,
    metadata: 0,
    largest: [{ path: 'secret/path', bytes: 7, failedSaves: 2, reason: 'r' }],
  },
  openFiles: 3,
  openDirectories: 0,
  inodes: 9,
  memory: { limit: 100, used: 50, unsaved: 7, unsavedLimit: 50, resident: 1000 },
  cache: { blocks: 40, hits: 5, joined: 1, misses: 2 },
  places: { state: '/s', index: '/s/index', spool: { used: 0, keepsFree: 1 } },
  disk: { index: { directory: '/s/index', limit: 5, keepsFree: 1 } },
  requests: { byKind: { GetObject: 4 }, bytesIn: 10, bytesOut: 20, retries: 1, throttled: 0 },
  cost: { dollars: 0.5, prices: 'somewhere' },
  operations: { read: 12 },
  features: {},
  processes: [{ pid: 1, command: 'secret-command', operations: 3 }],
  failures: { count: 2, latest: [] },
};

t.test('the text', async t => {
  const text = metricsText([
    { name: 'a', help: 'b\nc\\', type: 'gauge', samples: [{ value: 1 }, { labels: { l: 'x"y\\\n' }, value: 0.5 }] },
  ]);
  t.equal(text, '# HELP a b\\nc\\\\\n# TYPE a gauge\na 1\na{l="x\\"y\\\\\\n"} 0.5\n');
});

t.test('histograms count up to each bound', async t => {
  const histograms = new Histograms([0.1, 1]);
  for (const seconds of [0.05, 0.1, 0.5, 7]) histograms.observe('read', seconds);
  const text = metricsText([{ name: 'h', help: 'h', type: 'histogram', samples: histograms.samples('op') }]);
  t.match(text, 'h_bucket{op="read",le="0.1"} 2\nh_bucket{op="read",le="1"} 3\nh_bucket{op="read",le="+Inf"} 4\n');
  t.match(text, 'h_sum{op="read"} 7.65\nh_count{op="read"} 4\n');
});

function aMount(): { text: string; names: Set<string> } {
  const telemetry = new MountTelemetry();
  const metrics = new MountMetrics(() => REPORT, telemetry);
  telemetry.time('op.read', 12);
  telemetry.time('s3.GetObject', 30);
  telemetry.count('op.read.EIO');
  telemetry.count('conflict');
  const text = metrics.text();
  return { text, names: new Set([...text.matchAll(/^([a-z0-9_]+)(?:\{| )/gm)].map(([, name]) => name!)) };
}

t.test('of a mount', async t => {
  const { text } = aMount();
  for (const line of [
    's3mount_info{version="1.2.3",bucket="b",prefix="",mount_point="/mnt/\\"quoted\\""} 1',
    's3mount_operations_total{operation="read"} 12',
    's3mount_operation_errors_total{operation="read",errno="EIO"} 1',
    's3mount_operation_wait_seconds_bucket{operation="read",le="0.01"} 0',
    's3mount_operation_wait_seconds_bucket{operation="read",le="0.02"} 1',
    's3mount_s3_request_seconds_count{request="GetObject"} 1',
    's3mount_s3_bytes_total{direction="out"} 20',
    's3mount_unsaved_bytes 7',
    's3mount_failing_saves 1',
    's3mount_conflicts_total 1',
    's3mount_cache_reads_total{result="miss"} 2',
  ]) {
    t.ok(text.includes(`${line}\n`), line);
  }
  t.notMatch(text, /secret/, 'no paths and no commands');
  t.notMatch(text, /NaN|undefined/);
});

t.test('the dashboard asks for what there is', async t => {
  const { names } = aMount();
  const file = fileURLToPath(new URL('../../docs/grafana-dashboard.json', import.meta.url));
  const dashboard = JSON.parse(readFileSync(file, 'utf8')) as { panels: { targets: { expr: string }[] }[] };
  const asked = dashboard.panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) => [...expr.matchAll(/\b((?:s3mount|process)_[a-z0-9_]+)/g)].map(([, name]) => name!)),
  );
  t.ok(asked.length > 20);
  t.same(
    asked.filter(name => !names.has(name)),
    [],
  );
});

const context = { name: 'metrics', cwd: '/', account: () => undefined };

t.test('served on this machine only', async t => {
  t.same(metricsAddress.read('9464', context), { host: '127.0.0.1', port: 9464 });
  t.same(metricsAddress.read('[::1]:9464', context), { host: '::1', port: 9464 });
  t.same(metricsAddress.read('/run/x.sock', context), { path: '/run/x.sock' });
  for (const text of ['0.0.0.0:9464', '10.0.0.1:80', 'example.com:80', '0', '70000', 'x', '', undefined]) {
    t.throws(() => metricsAddress.read(text, context), CliError);
  }
});

function got(
  address: MetricsAddress,
  path: string,
  options: { readonly host?: string; readonly method?: string } = {},
): Promise<{ status: number | undefined; body: string }> {
  const { host = 'localhost:9', method = 'GET' } = options;
  const where = 'path' in address ? { socketPath: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve, reject) => {
    request({ ...where, path, method, headers: { host } }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
    })
      .on('error', reject)
      .end();
  });
}

t.test('who may read them', async t => {
  const address = { host: '127.0.0.1', port: 9351 };
  const server = await serveMetrics(address, () => 'a 1\n');
  t.teardown(() => server.close());
  t.same(await got(address, '/metrics'), { status: 200, body: 'a 1\n' });
  t.match(await got(address, '/metrics', { host: 'evil.example' }), { status: 403 }, 'a page in a browser');
  t.match(await got(address, '/'), { status: 404 });
  t.match(await got(address, '/metrics', { method: 'POST' }), { status: 405 });
  await t.rejects(
    serveMetrics(address, () => ''),
    { code: 'EADDRINUSE' },
  );

  const directory = mkdtempSync(join(tmpdir(), 's3mount-metrics-'));
  const socket = { path: join(directory, 'm.sock') };
  const first = await serveMetrics(socket, () => 'a 1\n');
  t.equal(statSync(socket.path).mode & 0o777, 0o600);
  t.same(await got(socket, '/metrics', { host: 'anything' }), { status: 200, body: 'a 1\n' });
  first.close();
  t.notOk(existsSync(socket.path));
  writeFileSync(socket.path, 'a file of somebody');
  await t.rejects(
    serveMetrics(socket, () => ''),
    { code: 'EADDRINUSE' },
    'no file is removed for it',
  );
});
