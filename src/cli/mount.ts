/** The composition root: the only place that says `new` on a concrete store, cache, filesystem or binding. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { BlockCache } from '../cache/block-cache.ts';
import { BlockPool } from '../cache/block-pool.ts';
import { Budget } from '../cache/budget.ts';
import { Spool } from '../cache/spool.ts';
import { UnsavedMemory } from '../cache/unsaved-memory.ts';
import { systemClock } from '../concurrency.ts';
import { type FileSystemParts, S3FileSystem } from '../fs/filesystem.ts';
import { metadataLimits } from '../fs/metadata-limits.ts';
import { PersistentIndex } from '../fs/persistent-index.ts';
import { DevFuseBinding } from '../fuse/dev-fuse-binding.ts';
import { type FailedOperation, observed } from '../fuse/observed.ts';
import type { KernelBinding, Mounted } from '../fuse/ops.ts';
import { InstanceMetadata } from '../s3/instance-metadata.ts';
import { keepCompiledCode } from './compile-cache.ts';
import { type AnswerParts, controlAnswers, reportOf, unsavedOf } from './control-answers.ts';
import type { ControlAnswers } from './control-server.ts';
import { sharesOf } from './disk-shares.ts';
import { openDiskTier } from './disk-tier.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { doingOf, subjectOf } from './failed-operations.ts';
import { explainFailure } from './failures.ts';
import { fileSystemOptions, kernelMountOptions, uploadSizes } from './filesystem-options.ts';
import { HeadForecast } from './head-forecast.ts';
import type { Drainable } from './lifecycle.ts';
import { type DaemonLog, logLevel } from './log.ts';
import { memoryPlan } from './memory.ts';
import type { MetricsServer } from './metrics-server.ts';
import { prepareMountPoint } from './mount-point.ts';
import type { MountReport } from './mount-report.ts';
import { MountTelemetry } from './mount-telemetry.ts';
import { metadataService } from './network-options.ts';
import { openStore } from './open-store.ts';
import { openWriteBack, recoverBefore } from './open-write-back.ts';
import type { OptionValues } from './option-table.ts';
import type { Config } from './options.ts';
import { SendingProgress } from './sending-progress.ts';
import { isOnEc2, SpotWatch } from './spot-watch.ts';
import { ensureStateDirectory, indexName, stateDirectoryOf } from './state-directory.ts';

export interface MountSurroundings {
  readonly log: DaemonLog;
  /** A sentence for the person who mounts. */
  readonly note: (message: string) => void;
  /** For the service manager. */
  readonly status: (text: string) => void;
  /** An operation failed in a way that it must not: the daemon should end. */
  readonly onBug: (error: unknown) => void;
  /** Called once, right before the kernel is asked to mount. */
  readonly mounting: () => void;
}

export interface MountedBucket {
  readonly mounted: Mounted;
  readonly filesystem: Drainable;
  /** What `s3mount status` shows. */
  readonly report: () => MountReport;
  /** For the control socket. */
  readonly answers: ControlAnswers;
  /** Where `metrics=` asked for them. */
  readonly metrics: MetricsServer | undefined;
  /** Good answers of S3, and looks at which more of an upload had arrived there: while it grows a drain gets on. */
  readonly answered: () => number;
  /** Without symbolic links, as the kernel shows it. */
  readonly mountPoint: string;
  /** When all is over: lets go of connections and of the journal. */
  close(): Promise<void>;
}

/** Resolves when the mount answers. Throws a `CliError` for what a person can mend. */
export async function mountBucket(config: Config, surroundings: MountSurroundings): Promise<MountedBucket> {
  try {
    return await compose(config, surroundings);
  } catch (error) {
    throw explainFailure(error);
  }
}

async function compose(config: Config, surroundings: MountSurroundings): Promise<MountedBucket> {
  const { log, note, onBug, mounting } = surroundings;
  const { values } = config;
  const mountPoint = await prepareMountPoint(config.mountPoint, { nonempty: values.nonempty ?? false });
  const telemetry = new MountTelemetry(log);
  const shares = await sharesOf(config);
  const disk = await openDiskTier(config, shares, telemetry, systemClock);
  const s3 = await openStore(config, telemetry);
  await disk?.known;
  const plan = memoryPlan(values.memory);
  const limits = metadataLimits(plan.metadata);
  const budget = new Budget(plan.budget);
  const { store, writeBack, unsaved } = await openWriteBack(config, {
    store: s3,
    sentMore: () => s3.sentMore(),
    budget,
    telemetry,
    journalShare: shares.journal,
    note,
  });
  const pool = new BlockPool(systemClock);
  const spoolDirectory = ensureStateDirectory(stateDirectoryOf(config), 'spool');
  const { endpoint, bucket, prefix } = s3.place;
  const indexDirectory = ensureStateDirectory(stateDirectoryOf(config), 'index');
  const persistentIndex = new PersistentIndex({
    root: indexDirectory,
    name: indexName([endpoint, bucket, prefix], s3.identity),
    clock: systemClock,
    log,
    maxBytes: shares.index,
    maxWaiting: limits.describedWaiting,
  });
  const uid = process.getuid!();
  const gid = process.getgid!();
  const parts: FileSystemParts = {
    store,
    blocks: new BlockCache({
      store,
      budget,
      pool,
      telemetry,
      clock: systemClock,
      tier: disk?.tier,
      versions: limits.versions,
    }),
    metadataLimits: limits,
    budget,
    pool,
    spool: new Spool(new UnsavedMemory(budget, pool), { directory: spoolDirectory }),
    telemetry,
    clock: systemClock,
    sizes: uploadSizes(values),
    keepSent: values.keep_sent ?? false,
    options: {
      ...fileSystemOptions(values, { uid, gid, hostname: hostname() }),
      address: { bucket: config.bucket, prefix: config.prefix },
    },
    notifier: undefined,
    persistentIndex,
    ...(writeBack && { writeBack }),
    unsavedLog: unsaved?.log,
    closeRooms: unsaved?.closeRooms,
    mimeTypes: mimeTypes(values.mime),
  };
  const filesystem = new S3FileSystem(parts);
  const ending = new AbortController();
  if (unsaved) {
    const { memory } = parts.spool;
    unsaved.journal.room.pressed.add(() => memory.letGoSent());
    await recoverBefore(unsaved, parts, ending.signal);
  }
  const binding = await bindingOf(values.binding, { telemetry, uid, gid, onBug });
  mounting();
  const trace = logLevel(values) === 'debug';
  const mounted = await binding.mount(
    observed(filesystem, telemetry, {
      trace,
      // Of libfuse's paths nobody knows who asks.
      asked: thread => void (thread > 0 && telemetry.callers.asked(thread)),
      failed: operation => rememberFailure(operation, filesystem, telemetry),
    }),
    kernelMountOptions(config, mountPoint),
  );
  parts.notifier = mounted.notifier;
  filesystem.started();
  s3.warm().then(
    () => {
      log.debug({}, 'all of the program is loaded');
      keepCompiledCode();
    },
    (error: unknown) => log.warn({ err: error }, 'a part of the program could not be loaded'),
  );
  log.info({ bucket: config.bucket, prefix: config.prefix, mountPoint, memory: budget.total }, 'mounted');
  const mountParts = {
    filesystem,
    telemetry,
    store: s3,
    blocks: parts.blocks,
    budget,
    spool: parts.spool,
    mountPoint,
    readOnly: values.ro ?? false,
    stateDirectory: stateDirectoryOf(config),
    index: { directory: indexDirectory, space: persistentIndex.space },
    journal: unsaved?.journal,
    diskCache: disk,
    logFile: values.logfile,
    since: Date.now(),
    now: Date.now,
  };
  const sending = new SendingProgress({
    answered: () => telemetry.get('s3.answered'),
    sentMore: () => s3.sentMore(),
    clock: systemClock,
  });
  const spot = watchSpot(values.spot_drain, filesystem, surroundings);
  const answerParts: AnswerParts = { ...mountParts, notice: () => spot?.notice };
  if (values.stat !== 'list') forecastHeads(telemetry, log);
  const metrics = await startMetrics(values.metrics, answerParts, surroundings);
  return {
    answered: () => sending.look(),
    mounted,
    mountPoint,
    filesystem,
    answers: controlAnswers(answerParts),
    metrics,
    report: () => reportOf(answerParts),
    close: () => {
      spot?.stop();
      ending.abort();
      return store.close();
    },
  };
}

/** Where the machine is an EC2 instance, or it was asked for. */
function watchSpot(
  wanted: boolean | undefined,
  filesystem: S3FileSystem,
  { log, status }: MountSurroundings,
): SpotWatch | undefined {
  const service = metadataService(process.env);
  if (wanted === false || service === undefined || !URL.canParse(service)) return undefined;
  if (wanted === undefined && !isOnEc2()) return undefined;
  const metadata = new InstanceMetadata(service, systemClock);
  const watch = new SpotWatch({
    ask: path => metadata.get(path),
    save: async () => {
      const { failed } = await filesystem.flushBelow('', () => {}, new AbortController().signal);
      return failed.length === 0;
    },
    unsaved: () => unsavedOf(filesystem),
    log,
    status,
    pause: ms => new Promise(resolve => void setTimeout(resolve, ms).unref()),
  });
  void watch.run().finally(() => metadata.close());
  return watch;
}

/** The second one is loaded where it is asked for. */
async function bindingOf(
  name: OptionValues['binding'],
  options: ConstructorParameters<typeof DevFuseBinding>[0],
): Promise<KernelBinding> {
  if (name !== 'fuse-native') return new DevFuseBinding(options);
  const { FuseNativeBinding } = await import('../fuse/fuse-native-binding.ts');
  return new FuseNativeBinding(options);
}

/** ms between two looks at the counts: a walk of 100,000 files takes minutes. */
const FORECAST_EVERY = 5_000;

function forecastHeads(telemetry: MountTelemetry, log: DaemonLog): void {
  const forecast = new HeadForecast();
  setInterval(() => {
    const counts = { heads: telemetry.get('s3.HeadObject'), listed: telemetry.get('s3.listed') };
    const sentence = forecast.look(counts, performance.now());
    if (sentence !== undefined) log.warn(counts, sentence);
  }, FORECAST_EVERY).unref();
}

/** A port that is taken is no reason not to mount. Loaded only where it is asked for. */
async function startMetrics(
  address: OptionValues['metrics'],
  parts: AnswerParts,
  { log, note }: MountSurroundings,
): Promise<MetricsServer | undefined> {
  if (address === undefined) return undefined;
  const [{ MountMetrics }, { serveMetrics }] = await Promise.all([
    import('./metrics.ts'),
    import('./metrics-server.ts'),
  ]);
  try {
    const metrics = new MountMetrics(() => reportOf(parts), parts.telemetry);
    const server = await serveMetrics(address, () => metrics.text());
    log.info({ where: server.where }, 'metrics are served');
    return server;
  } catch (error) {
    const sentence = `metrics are not served: ${(error as Error).message}`;
    log.warn({}, sentence);
    note(sentence);
    return undefined;
  }
}

/** Under the path of what the operation was about. */
function rememberFailure(operation: FailedOperation, filesystem: S3FileSystem, telemetry: MountTelemetry): void {
  const { nodeid, name } = subjectOf(operation);
  const path = filesystem.pathOf(nodeid, name);
  if (path !== undefined) telemetry.failed(path, doingOf(operation.name), operation.error);
}

/** Content types by suffix, as every program of the machine sees them, or as `mime=` says. */
function mimeTypes(named: string | undefined): string {
  try {
    return readFileSync(named ?? '/etc/mime.types', 'utf8');
  } catch (error) {
    if (named === undefined) return '';
    throw new CliError(EXIT.usage, `mime: ${named} cannot be read: ${(error as Error).message}.`);
  }
}
