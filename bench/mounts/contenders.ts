/** Who is measured: three lines of options of s3mount, other mounts where they are installed, and plain HTTP. */
import { spawnSync } from 'node:child_process';
import { OPTION_OF_WORD } from '../../src/cli/option-table.ts';
import { ACCESS_KEY, SECRET_KEY } from './server.ts';

export interface MountPlace {
  readonly bucket: string;
  readonly url: string;
  readonly directory: string;
  /** For caches, indexes, journals: empty at the first mount, kept over a remount. */
  readonly state: string;
  /** The row is about what is kept on disk: mounts that keep bytes only where they are told to are told. */
  readonly cache: boolean;
}

export interface Command {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Contender {
  /** Also the name of its column. */
  readonly name: string;
  /** With its version. */
  readonly title: string;
  readonly ours: boolean;
  /** Of ours: which of its three lines of options. */
  readonly mode?: 'defaults' | 'stat=list' | 'write_back';
  /** `close` may return before S3 has the bytes. */
  readonly writesBack: boolean;
  mount(place: MountPlace): Command;
}

export interface Missing {
  readonly name: string;
  readonly reason: string;
}

/** The name of the column of plain HTTP. */
export const RAW = 'raw';

function versionOf(program: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) return undefined;
  return /(?<![\d.])(\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1] ?? 'of unknown version';
}

function s3mount(
  program: string,
  mode: NonNullable<Contender['mode']>,
  words: (place: MountPlace) => string,
): Contender {
  const name = mode === 'defaults' ? 's3mount' : `s3mount ${mode}`;
  return {
    name,
    title: name,
    ours: true,
    mode,
    writesBack: mode === 'write_back',
    mount: place => ({
      argv: [
        program,
        place.bucket,
        place.directory,
        '-f',
        '-o',
        `url=${place.url},use_path_request_style,state_dir=${place.state}${words(place)}${place.cache ? `,use_cache=${place.state}/blocks` : ''}`,
      ],
      env: {
        AWS_ACCESS_KEY_ID: ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY: SECRET_KEY,
        AWS_EC2_METADATA_DISABLED: 'true',
      },
    }),
  };
}

/** Settings beside the defaults are those that make it faster on these workloads. */
function s3fs(version: string): Contender {
  return {
    name: 's3fs',
    title: `s3fs ${version}`,
    ours: false,
    writesBack: false,
    mount: place => ({
      argv: [
        's3fs',
        place.bucket,
        place.directory,
        '-f',
        '-o',
        [
          `url=${place.url}`,
          'use_path_request_style',
          'parallel_count=16',
          'multipart_size=16',
          'multireq_max=64',
          'max_stat_cache_size=200000',
          'enable_noobj_cache',
          `tmpdir=${place.state}`,
          ...(place.cache ? [`use_cache=${place.state}`] : []),
        ].join(','),
      ],
      env: { AWSACCESSKEYID: ACCESS_KEY, AWSSECRETACCESSKEY: SECRET_KEY },
    }),
  };
}

function rclone(version: string): Contender {
  return {
    name: 'rclone',
    title: `rclone ${version}`,
    ours: false,
    writesBack: true,
    mount: place => ({
      argv: [
        'rclone',
        'mount',
        `bench:${place.bucket}`,
        place.directory,
        '--vfs-cache-mode=full',
        `--cache-dir=${place.state}`,
        '--vfs-write-back=0s',
        '--transfers=32',
        '--use-server-modtime',
        '--s3-upload-concurrency=16',
        '--s3-chunk-size=16M',
      ],
      env: {
        RCLONE_CONFIG: '/dev/null',
        RCLONE_CONFIG_BENCH_TYPE: 's3',
        RCLONE_CONFIG_BENCH_PROVIDER: 'Other',
        RCLONE_CONFIG_BENCH_ENDPOINT: place.url,
        RCLONE_CONFIG_BENCH_ACCESS_KEY_ID: ACCESS_KEY,
        RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY: SECRET_KEY,
        RCLONE_CONFIG_BENCH_REGION: 'us-east-1',
        RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE: 'true',
        RCLONE_CONFIG_BENCH_NO_CHECK_BUCKET: 'true',
      },
    }),
  };
}

/** `program`: this checkout's s3mount. */
export function findContenders(program: string): {
  readonly found: readonly Contender[];
  readonly missing: readonly Missing[];
} {
  const found: Contender[] = [
    s3mount(program, 'defaults', () => ''),
    s3mount(program, 'stat=list', () => ',stat=list'),
  ];
  const missing: Missing[] = [];
  if (OPTION_OF_WORD.has('write_back')) {
    const journal = (place: MountPlace): string => (OPTION_OF_WORD.has('journal') ? `,journal=${place.state}` : '');
    found.push(s3mount(program, 'write_back', place => `,write_back${journal(place)}`));
  } else missing.push({ name: 's3mount write_back', reason: 'this version has no such option' });
  const installed = (name: string, version: string | undefined, make: (version: string) => Contender): void => {
    if (version === undefined) missing.push({ name, reason: 'not installed (apt-get install, dnf install)' });
    else found.push(make(version));
  };
  installed('s3fs', versionOf('s3fs', ['--version']), s3fs);
  installed('rclone', versionOf('rclone', ['version']), rclone);
  return { found, missing };
}
