/** The two networks that the embedded server plays. */

export interface Profile {
  readonly name: 's3' | 'none';
  readonly title: string;
  /** ms to the first byte by class of operation, in the server's words; `default` for the rest. */
  readonly latency: Readonly<Record<string, number>>;
  /** Bytes per second of one connection; infinite where nothing limits it. */
  readonly bandwidth: number;
  /** Bytes per second of one server-side copy. */
  readonly copyBandwidth: number;
}

/** How many connections plain HTTP and the floors use: enough that 90 MB/s each are more than two cores take in. */
export const CONNECTIONS = 16;

export const PROFILES: readonly Profile[] = [
  {
    name: 's3',
    title: "latency and bandwidth like S3's within a region",
    // What small requests from EC2 in the same region see at the median, rounded; the rest (multipart bookkeeping) as GET.
    latency: { get: 20, put: 30, list: 40, head: 15, copy: 40, delete: 15, default: 20 },
    bandwidth: 90e6,
    copyBandwidth: 150e6,
  },
  {
    name: 'none',
    title: 'no latency and no limit: what the programs themselves cost',
    latency: {},
    bandwidth: Number.POSITIVE_INFINITY,
    copyBandwidth: Number.POSITIVE_INFINITY,
  },
];

/** The query of the server's `latency` command that sets this pace. */
export function paceQuery(profile: Profile): string {
  const latency = Object.entries(profile.latency).map(([name, ms]) => `${name}=${ms}ms`);
  const limit = (bytes: number): string => (Number.isFinite(bytes) ? String(bytes) : 'off');
  return new URLSearchParams({
    set: latency.length === 0 ? 'off' : latency.join(','),
    'conn-bandwidth': limit(profile.bandwidth),
    'copy-bandwidth': limit(profile.copyBandwidth),
  }).toString();
}
