/** A mount's report as a person reads it. Pure. Names in it come from the bucket and from other processes: see `shown`. */
import { printable } from '../s3/error-kinds.ts';
import type { DiskPlace, MountReport } from './mount-report.ts';
import { bytesText, countOf, countText, dollarsText, durationText, timeText } from './quantities.ts';

/** Since an earlier report, for the live view. */
export interface Rates {
  readonly seconds: number;
  readonly before: MountReport;
}

/** Unsaved files that are named. */
const NAMED = 5;
/** Failures that are named. */
const FAILURES = 3;

export function statusText(report: MountReport, installed: string, rates?: Rates): string {
  const rows: (() => Row | Row[])[] = [
    () => ['since', sinceText(report)],
    () => noticeRow(report),
    () => ['unsaved', unsavedText(report)],
    () => unsavedFiles(report),
    () => queueRow(report),
    () => ['memory', memoryText(report)],
    () => ['cache', cacheText(report)],
    () => diskCacheRow(report),
    () => diskRows(report),
    () => ['open', openText(report)],
    () => ['requests', requestsText(report)],
    () => retryRow(report),
    () => (rates ? [['now', ratesText(report, rates)]] : []),
    () => ['cost', costText(report)],
    () => ['S3', featuresText(report)],
    () => ['places', placesText(report)],
    () => ['processes', processesText(report)],
    () => failureRows(report),
  ];
  const lines = rows.flatMap(present).map(([name, text]) => `  ${name.padEnd(10)} ${text}`);
  const where = report.prefix === '' ? report.bucket : `${report.bucket}:/${report.prefix}`;
  const title = `${shown(where)} on ${shown(report.mountPoint)}${report.readOnly ? ' (read only)' : ''}`;
  return [title, ...olderText(report, installed), ...lines].join('\n');
}

type Row = [name: string, text: string];

/** A daemon of another version may leave out what this one shows: then that row is not there. */
function present(row: () => Row | Row[]): Row[] {
  try {
    const made = row();
    return (typeof made[0] === 'string' ? [made] : made) as Row[];
  } catch {
    return [];
  }
}

/** Text from elsewhere, on one line and without control characters. */
export function shown(text: string): string {
  return printable(text, 300);
}

function olderText({ version, mountPoint }: MountReport, installed: string): string[] {
  if (version === installed) return [];
  return [
    `  This mount still runs s3mount ${shown(version)}; ${installed} is installed. To change over: s3mount umount ${shown(mountPoint)}, then mount again.`,
  ];
}

function sinceText({ since, seconds, version, pid, region, endpoint }: MountReport): string {
  const when = timeText(Date.parse(since));
  return `${when} (${durationText(seconds)}), s3mount ${shown(version)}, pid ${pid}, ${shown(region)}, ${shown(endpoint)}`;
}

function noticeRow({ notice }: MountReport): Row[] {
  if (notice === undefined) return [];
  const { kind, action, time, saved } = notice;
  const what =
    kind === 'interruption' ? `AWS will ${shown(action ?? 'take')} this instance` : 'AWS may soon take this instance';
  return [['notice', `${what} (${shown(time)}); ${saved ? 'what was unsaved is in S3' : 'not all is saved'}`]];
}

function unsavedText({ unsaved }: MountReport): string {
  const metadata = unsaved.metadata === 0 ? '' : `; mode, owner or times of ${countText(unsaved.metadata)}`;
  if (unsaved.files === 0) return metadata === '' ? 'nothing' : metadata.slice(2);
  return `${bytesText(unsaved.bytes)} in ${countOf(unsaved.files, 'file')}${metadata}`;
}

function unsavedFiles({ unsaved }: MountReport): Row[] {
  return unsaved.largest.slice(0, NAMED).map(({ path, bytes, failedSaves, reason }) => {
    const failed = failedSaves === 0 ? '' : `; not saved ${countOf(failedSaves, 'time')}: ${shown(reason ?? '')}`;
    return ['', `${shown(path)}, ${bytesText(bytes)}${failed}`];
  });
}

function memoryText({ memory }: MountReport): string {
  const unsaved = `unsaved ${bytesText(memory.unsaved)} of ${bytesText(memory.unsavedLimit)}`;
  return `${bytesText(memory.used)} of ${bytesText(memory.limit)} (${unsaved}); the process ${bytesText(memory.resident)}`;
}

function cacheText({ cache }: MountReport): string {
  const all = cache.hits + cache.joined + cache.misses;
  const share =
    all === 0
      ? ''
      : `; ${Math.floor((100 * (cache.hits + cache.joined)) / all)}% of ${countText(all)} reads of blocks found theirs`;
  return `${bytesText(cache.blocks)}${share}`;
}

function diskCacheRow({ diskCache }: MountReport): Row[] {
  if (diskCache === undefined) return [];
  const { bytes, limitBytes, hitBytes, failedBlocks, directory } = diskCache;
  const failed = failedBlocks === 0 ? '' : `; ${countOf(failedBlocks, 'block')} could not be written or read`;
  const text = `${bytesText(bytes)} of ${bytesText(limitBytes)} in ${shown(directory)}; ${bytesText(hitBytes)} came from there${failed}`;
  return [['disk cache', text]];
}

/** What lies on local disks, and how much more may. */
function diskRows({ disk }: MountReport): Row[] {
  const places: readonly (readonly [string, DiskPlace | undefined])[] = [
    ['index', disk.index],
    ['journal', disk.journal],
    ['cache', disk.cache],
    ['spool', disk.spool],
  ];
  return places.flatMap(([name, place]): Row[] => {
    if (place === undefined) return [];
    const { used, limit, keepsFree, directory } = place;
    const taken = used === undefined ? 'not counted yet' : bytesText(used);
    const most = limit === undefined ? '' : `, at most ${bytesText(limit)}`;
    return [
      [
        name === 'index' ? 'disk' : '',
        `${name} ${taken}${most}; leaves ${bytesText(keepsFree)} free; ${shown(directory)}`,
      ],
    ];
  });
}

function openText({ openFiles, openDirectories, inodes }: MountReport): string {
  const directories = countOf(openDirectories, 'directory', 'directories');
  return `${countOf(openFiles, 'file')}, ${directories}; ${countOf(inodes, 'inode')}`;
}

function requestsText({ requests }: MountReport): string {
  const { byKind, bytesIn, bytesOut, retries, throttled } = requests;
  const kinds = Object.entries(byKind).sort(([, a], [, b]) => b - a);
  const all = kinds.reduce((sum, [, count]) => sum + count, 0);
  const named = kinds.map(([name, count]) => `${shown(name)} ${countText(count)}`).join(', ');
  const again = retries === 0 ? '' : `; ${countText(retries)} tried again`;
  const slow = throttled === 0 ? '' : ` (${countText(throttled)} because S3 asked to slow down)`;
  return `${countText(all)}${named === '' ? '' : `: ${named}`}; ${bytesText(bytesIn)} in, ${bytesText(bytesOut)} out${again}${slow}`;
}

function retryRow({ requests: { lastRetry } }: MountReport): Row[] {
  if (lastRetry === undefined) return [];
  return [['', `the last tried again at ${timeText(lastRetry.last)}: ${shown(lastRetry.message)}`]];
}

/** What close has answered for and S3 does not have yet (`write_back`). */
function queueRow({ queued }: MountReport): Row[] {
  if (queued === undefined) return [];
  const { files, deletes, bytes, oldest, failing } = queued;
  if (files + deletes === 0) return [['queue', 'empty']];
  const old = `the oldest for ${durationText(oldest / 1000)}`;
  const failed = failing === 0 ? '' : `; the last attempt of ${countText(failing)} failed`;
  const deleted = deletes === 0 ? '' : ` and ${countOf(deletes, 'deletion')}`;
  return [['queue', `${countOf(files, 'file')}${deleted} in the journal, ${bytesText(bytes)}, ${old}${failed}`]];
}

function ratesText(report: MountReport, { seconds, before }: Rates): string {
  const rate = (now: number, then: number): number => Math.max(0, (now - then) / seconds);
  const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
  const operations = rate(sum(report.operations), sum(before.operations));
  const requests = rate(sum(report.requests.byKind), sum(before.requests.byKind));
  const bytesIn = rate(report.requests.bytesIn, before.requests.bytesIn);
  const bytesOut = rate(report.requests.bytesOut, before.requests.bytesOut);
  return `${countText(operations)} operations/s, ${countText(requests)} requests/s, ${bytesText(bytesIn)}/s in, ${bytesText(bytesOut)}/s out`;
}

function costText({ cost }: MountReport): string {
  const day = cost.dollarsPerDay === undefined ? '' : `, ${dollarsText(cost.dollarsPerDay)} a day if it goes on so`;
  return `about ${dollarsText(cost.dollars)}${day} (requests only; ${shown(cost.prices)})`;
}

const FEATURES: Readonly<Record<string, string>> = {
  conditionalPut: 'conditional PUT',
  conditionalComplete: 'conditional completion of uploads',
  checksums: 'checksums of what is written',
  orderedListing: 'ordered listings',
};

function featuresText({ features }: MountReport): string {
  return Object.entries(features)
    .map(([name, value]) => `${FEATURES[name] ?? shown(name)}: ${featureText(value)}`)
    .join(', ');
}

function featureText(value: boolean | string | null): string {
  if (typeof value === 'string') return shown(value);
  return value === null ? 'not needed yet' : value ? 'yes' : 'no';
}

function placesText({ places }: MountReport): string {
  return `state ${shown(places.state)}, log ${shown(places.log ?? 'stderr')}`;
}

function processesText({ processes }: MountReport): string {
  if (processes.length === 0) return 'none yet';
  return processes
    .map(({ command, pid, operations }) => `${shown(command)} (${pid}) ${countText(operations)}`)
    .join(', ');
}

function failureRows({ failures, mountPoint }: MountReport): Row[] {
  if (failures.count === 0) return [['failures', 'none']];
  return [
    ['failures', `${countText(failures.count)}; the last (s3mount why ${shown(mountPoint)}/PATH says more):`],
    ...failures.latest
      .slice(0, FAILURES)
      .map(
        ({ path, operation, code, last }): Row => [
          '',
          `${timeText(last)} ${operation} of ${shown(path === '' ? '.' : path)}: ${code}`,
        ],
      ),
  ];
}
