/** What a mount tells Prometheus. No label holds a key or a path: their number has no bound, and they are nobody's business. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { byLabel, type Family, Histograms, metricsText, type Sample } from './metrics-text.ts';
import type { MountReport } from './mount-report.ts';
import type { MountTelemetry } from './mount-telemetry.ts';

/** ms between two looks at how late the loop is. */
const LOOP_EVERY = 20;

export class MountMetrics {
  readonly #report: () => MountReport;
  readonly #telemetry: MountTelemetry;
  readonly #operations = new Histograms();
  readonly #requests = new Histograms();
  readonly #loop: ReturnType<typeof monitorEventLoopDelay>;

  /** From now on every duration is counted. */
  constructor(report: () => MountReport, telemetry: MountTelemetry) {
    this.#report = report;
    this.#telemetry = telemetry;
    this.#loop = monitorEventLoopDelay({ resolution: LOOP_EVERY });
    this.#loop.enable();
    telemetry.onTime = (name, ms) => {
      if (name.startsWith('op.')) this.#operations.observe(name.slice(3), ms / 1000);
      else if (name.startsWith('s3.')) this.#requests.observe(name.slice(3), ms / 1000);
    };
  }

  text(): string {
    return metricsText(this.#families(this.#report()));
  }

  #families(report: MountReport): Family[] {
    const { requests, unsaved, memory, cache, failures } = report;
    return [
      gauge('s3mount_info', 'What runs and what is mounted.', [
        {
          labels: {
            version: report.version,
            bucket: report.bucket,
            prefix: report.prefix,
            mount_point: report.mountPoint,
          },
          value: 1,
        },
      ]),
      counter(
        's3mount_operations_total',
        'Operations that the kernel asked for.',
        byLabel('operation', report.operations),
      ),
      counter('s3mount_operation_errors_total', 'Operations that failed, by errno.', this.#errors()),
      {
        name: 's3mount_operation_wait_seconds',
        help: 'How long operations took that could not be answered from memory at once.',
        type: 'histogram',
        samples: this.#operations.samples('operation'),
      },
      counter(
        's3mount_s3_requests_total',
        'Requests sent to S3, each attempt counted.',
        byLabel('request', requests.byKind),
      ),
      {
        name: 's3mount_s3_request_seconds',
        help: 'From sending a request to the last byte of its answer, each attempt.',
        type: 'histogram',
        samples: this.#requests.samples('request'),
      },
      counter(
        's3mount_s3_bytes_total',
        'Bytes of bodies.',
        byLabel('direction', { in: requests.bytesIn, out: requests.bytesOut }),
      ),
      counter('s3mount_s3_retries_total', 'Requests sent again.', [{ value: requests.retries }]),
      counter('s3mount_s3_throttled_total', 'Of those: S3 asked to slow down.', [{ value: requests.throttled }]),
      counter('s3mount_s3_cost_dollars_total', `Estimate of what the requests cost: ${report.cost.prices}.`, [
        { value: report.cost.dollars },
      ]),
      gauge('s3mount_unsaved_bytes', 'Bytes that S3 does not have yet.', [{ value: unsaved.bytes }]),
      gauge('s3mount_unsaved_files', 'Files with such bytes.', [{ value: unsaved.files }]),
      gauge('s3mount_failing_saves', 'Files (of the 20 worst, and of the journal) whose last save failed.', [
        {
          value: unsaved.largest.filter(({ failedSaves }) => failedSaves > 0).length + (report.queued?.failing ?? 0),
        },
      ]),
      counter('s3mount_failures_total', 'What s3mount why would explain.', [{ value: failures.count }]),
      counter('s3mount_conflicts_total', 'Saves that met the change of another client.', [
        { value: this.#telemetry.get('conflict') },
      ]),
      gauge(
        's3mount_memory_bytes',
        'Cached, in flight and unsaved bytes together, of them unsaved, and the limit.',
        byLabel('kind', { used: memory.used, unsaved: memory.unsaved, limit: memory.limit }),
      ),
      counter(
        's3mount_cache_reads_total',
        'Reads of blocks: found, on their way already, fetched.',
        byLabel('result', { hit: cache.hits, joined: cache.joined, miss: cache.misses }),
      ),
      ...diskCache(report),
      gauge('s3mount_spool_bytes', 'Unsaved bytes on the local disk.', [{ value: report.places.spool.used }]),
      gauge('s3mount_open_files', 'Open files.', [{ value: report.openFiles }]),
      gauge('s3mount_inodes', 'Inodes that the kernel holds.', [{ value: report.inodes }]),
      ...this.#process(report),
    ];
  }

  #errors(): Sample[] {
    const samples: Sample[] = [];
    for (const [name, value] of this.#telemetry.values) {
      const [, operation, errno] = /^op\.([A-Za-z]+)\.(E[A-Z0-9]+)$/.exec(name) ?? [];
      if (operation !== undefined && errno !== undefined) samples.push({ labels: { operation, errno }, value });
    }
    return samples;
  }

  #process({ memory, since }: MountReport): Family[] {
    const { user, system } = process.cpuUsage();
    const seconds = (nanoseconds: number): number => (Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0);
    const late = (quantile: number): Sample => ({
      labels: { quantile: String(quantile) },
      value: Math.max(0, seconds(this.#loop.percentile(quantile * 100)) - LOOP_EVERY / 1000),
    });
    return [
      gauge('process_resident_memory_bytes', 'Resident memory.', [{ value: memory.resident }]),
      counter('process_cpu_seconds_total', 'Processor time.', [{ value: (user + system) / 1e6 }]),
      gauge('process_start_time_seconds', 'When the mount began.', [{ value: Date.parse(since) / 1000 }]),
      {
        name: 's3mount_loop_delay_seconds',
        help: 'How late the one thread that serves the mount was, since the mount began.',
        type: 'summary',
        samples: [late(0.5), late(0.99)],
      },
    ];
  }
}

function diskCache({ diskCache }: MountReport): Family[] {
  if (diskCache === undefined) return [];
  const { bytes, limitBytes, hitBytes, writtenBytes } = diskCache;
  return [
    gauge('s3mount_disk_cache_bytes', 'On disk, and the limit.', byLabel('kind', { used: bytes, limit: limitBytes })),
    counter(
      's3mount_disk_cache_io_bytes_total',
      'Read from the disk cache instead of S3, and written to it.',
      byLabel('direction', { read: hitBytes, written: writtenBytes }),
    ),
  ];
}

function gauge(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, help, type: 'gauge', samples };
}

function counter(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, help, type: 'counter', samples };
}
