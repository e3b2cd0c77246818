/**
 * The least that S3 must be asked for a workload, as data: `raw` carries it out by plain HTTP, and the floors are computed
 * from it. A plan is a list of stages, one after the other; the requests of a stage do not depend on each other.
 */
import { CONNECTIONS, type Profile } from './profiles.ts';

export type PlannedRequest =
  | { readonly do: 'get'; readonly key: string; readonly offset: number; readonly length: number }
  | { readonly do: 'put'; readonly key: string; readonly length: number }
  | { readonly do: 'list'; readonly prefix: string; readonly after?: string; readonly keys: number }
  | { readonly do: 'delete'; readonly keys: readonly string[] }
  | { readonly do: 'copy'; readonly from: string; readonly key: string; readonly length: number }
  | { readonly do: 'begin'; readonly key: string }
  | { readonly do: 'part'; readonly key: string; readonly number: number; readonly length: number }
  | {
      readonly do: 'copy-part';
      readonly key: string;
      readonly number: number;
      readonly from: string;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly do: 'complete'; readonly key: string };

export interface Stage {
  readonly requests: readonly PlannedRequest[];
  /** Requests at once; default as many as there are connections. */
  readonly width?: number;
}

export type Plan = readonly Stage[];

export interface Floor {
  readonly seconds: number;
  readonly requests: number;
}

/** Class of the latency, in the server's words. */
const CLASS: Readonly<Record<PlannedRequest['do'], string>> = {
  get: 'get',
  put: 'put',
  list: 'list',
  delete: 'delete',
  copy: 'copy',
  begin: 'mpu',
  part: 'put',
  'copy-part': 'copy',
  complete: 'mpu',
};

/** Bytes of a LIST answer per key: what S3 writes around a key of some ten letters. */
const LIST_BYTES_PER_KEY = 250;

/** Seconds of one request alone on its connection. */
export function requestSeconds(request: PlannedRequest, profile: Profile): number {
  const first = (profile.latency[CLASS[request.do]] ?? profile.latency['default'] ?? 0) / 1000;
  switch (request.do) {
    case 'get':
    case 'put':
    case 'part':
      return first + request.length / profile.bandwidth;
    case 'list':
      return first + (request.keys * LIST_BYTES_PER_KEY) / profile.bandwidth;
    case 'copy':
    case 'copy-part':
      return first + request.length / profile.copyBandwidth;
    default:
      return first;
  }
}

/** No schedule of a stage is shorter than its longest request, nor than all of them spread evenly over the connections. */
export function floorOf(plan: Plan, profile: Profile): Floor {
  let seconds = 0;
  let requests = 0;
  for (const stage of plan) {
    const width = Math.min(stage.width ?? CONNECTIONS, CONNECTIONS);
    let longest = 0;
    let sum = 0;
    for (const request of stage.requests) {
      const one = requestSeconds(request, profile);
      longest = Math.max(longest, one);
      sum += one;
    }
    seconds += Math.max(longest, sum / width);
    requests += stage.requests.length;
  }
  return { seconds, requests };
}

const MIB = 1024 * 1024;

/**
 * One GET for each so many bytes: at 90 MB/s a request of 8 MiB spends four fifths of its time on bytes, and 2 GiB are
 * enough of them to share out.
 */
const GET_SIZE = 8 * MIB;
/** Likewise of an upload; S3 wants 5 MiB at least. */
const PART_SIZE = 16 * MIB;
/** Pages of a LIST. */
const PAGE_KEYS = 1000;
/** Keys of one DeleteObjects. */
const DELETE_KEYS = 1000;

function ranges(size: number, step: number): { readonly offset: number; readonly length: number }[] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => ({
    offset: i * step,
    length: Math.min(step, size - i * step),
  }));
}

export function getWhole(keys: readonly string[], size: number): Plan {
  return [
    { requests: keys.flatMap(key => ranges(size, GET_SIZE).map(range => ({ do: 'get' as const, key, ...range }))) },
  ];
}

export function getFiles(files: readonly { readonly key: string; readonly size: number }[]): Plan {
  return [{ requests: files.map(({ key, size }) => ({ do: 'get', key, offset: 0, length: size })) }];
}

export function putFiles(files: readonly { readonly key: string; readonly size: number }[], width?: number): Plan {
  const requests: PlannedRequest[] = files.map(({ key, size }) => ({ do: 'put', key, length: size }));
  return [{ requests, ...(width === undefined ? {} : { width }) }];
}

/** Large uploads side by side. */
export function upload(keys: readonly string[], size: number): Plan {
  return [
    { requests: keys.map(key => ({ do: 'begin', key })) },
    {
      requests: keys.flatMap(key =>
        ranges(size, PART_SIZE).map(({ length }, i) => ({ do: 'part' as const, key, number: i + 1, length })),
      ),
    },
    { requests: keys.map(key => ({ do: 'complete', key })) },
  ];
}

/** All keys of a directory or a tree: the first page tells how to share out the others. `sorted`: in the order of bytes. */
export function listAll(prefix: string, sorted: readonly string[]): Plan {
  const pages: PlannedRequest[] = [];
  for (let at = 0; at < sorted.length; at += PAGE_KEYS) {
    const keys = Math.min(PAGE_KEYS, sorted.length - at);
    pages.push({ do: 'list', prefix, keys, ...(at === 0 ? {} : { after: sorted[at - 1]! }) });
  }
  return [{ requests: pages.slice(0, 1) }, { requests: pages.slice(1) }];
}

export function deleteAll(keys: readonly string[]): Plan {
  const requests: PlannedRequest[] = [];
  for (let at = 0; at < keys.length; at += DELETE_KEYS) {
    requests.push({ do: 'delete', keys: keys.slice(at, at + DELETE_KEYS) });
  }
  return [{ requests }];
}

/** Copies of the unchanged ranges around `changed` bytes at `offset`, which alone are sent; into the same key. */
export function rewrite(key: string, size: number, offset: number, changed: number): Plan {
  // What is sent must be a part of its own, or belong to one that S3 takes: 5 MiB where it is not the last.
  const sent = Math.min(offset, size);
  const last = sent >= size;
  const sentLength = last ? changed : Math.min(5 * MIB, size - sent);
  const before = copyRanges(0, sent);
  const after = last ? [] : copyRanges(sent + sentLength, size);
  const requests: PlannedRequest[] = [];
  let number = 0;
  for (const range of before) requests.push({ do: 'copy-part', key, number: ++number, from: key, ...range });
  requests.push({ do: 'part', key, number: ++number, length: sentLength });
  for (const range of after) requests.push({ do: 'copy-part', key, number: ++number, from: key, ...range });
  // The rest of the part that is sent has to be read first.
  const read: Stage[] = last ? [] : [{ requests: [{ do: 'get', key, offset: sent, length: sentLength }] }];
  return [...read, { requests: [{ do: 'begin', key }] }, { requests }, { requests: [{ do: 'complete', key }] }];
}

/** Parts of a server-side copy: as many at once as there are connections, but none below 5 MiB. */
function copyRanges(from: number, to: number): { readonly offset: number; readonly length: number }[] {
  if (to <= from) return [];
  const step = Math.max(5 * MIB, Math.ceil((to - from) / CONNECTIONS));
  // A rest below 5 MiB goes with its neighbour.
  const count = Math.max(1, Math.floor((to - from) / step));
  return Array.from({ length: count }, (_, i) => ({
    offset: from + i * step,
    length: (i === count - 1 ? to : from + (i + 1) * step) - (from + i * step),
  }));
}

export function renameFile(from: string, key: string, size: number): Plan {
  const parts = copyRanges(0, size).map((range, i) => ({
    do: 'copy-part' as const,
    key,
    number: i + 1,
    from,
    ...range,
  }));
  if (parts.length === 1) {
    return [{ requests: [{ do: 'copy', from, key, length: size }] }, { requests: [{ do: 'delete', keys: [from] }] }];
  }
  return [
    { requests: [{ do: 'begin', key }] },
    { requests: parts },
    { requests: [{ do: 'complete', key }] },
    { requests: [{ do: 'delete', keys: [from] }] },
  ];
}

export function renameDirectory(
  pairs: readonly { readonly from: string; readonly key: string; readonly size: number }[],
): Plan {
  return [
    { requests: pairs.map(({ from, key, size }) => ({ do: 'copy', from, key, length: size })) },
    ...deleteAll(pairs.map(({ from }) => from)),
  ];
}
