/** What is measured, as data. */
import {
  type BucketName,
  type DataFile,
  fileName,
  filesOf,
  MIDDLING_SIZE,
  type Scale,
  SMALL_SIZE,
  totalBytes,
} from './data-sets.ts';
import type { LoadJob, ReadFile } from './load-jobs.ts';
import {
  deleteAll,
  getFiles,
  getWhole,
  listAll,
  type Plan,
  putFiles,
  renameDirectory,
  renameFile,
  rewrite,
  upload,
} from './plan.ts';
import { type Place, size, type Workload } from './workload.ts';

const KIB = 1024;
const OUTPUT = 'output.txt';

function read(place: Place, files: readonly DataFile[]): ReadFile[] {
  return files.map(({ key, size, seed }) => ({ path: `${place.mount}/${key}`, size, seed }));
}

function paths(place: Place, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${place.mount}/${fileName(i)}`);
}

const keysOf = (files: readonly DataFile[]): string[] => files.map(({ key }) => key);

function reading(scale: Scale): Workload[] {
  const big = filesOf('big', scale);
  const quarters = filesOf('quarters', scale);
  const middling = filesOf('middling', scale);
  const plan1 = getWhole(keysOf(big), scale.big);
  const plan4 = getWhole(keysOf(quarters), scale.big / 4);
  const one = quarters.slice(0, 1);
  const first = middling.slice(0, scale.firstBytes);
  const planFirst: Plan = [
    { requests: first.map(({ key }) => ({ do: 'get', key, offset: 0, length: 128 * KIB })), width: 1 },
  ];
  const readAll =
    (files: readonly DataFile[]) =>
    (place: Place): LoadJob => ({ do: 'read', files: read(place, files) });
  const random = (name: string, block: number, readers: number): Workload => ({
    name,
    title: `random reads of ${block / KIB} KiB, ${readers === 1 ? 'one reader' : `${readers} readers of one descriptor`}`,
    bucket: 'big',
    unit: '/s',
    job: place => ({ do: 'random', file: read(place, big)[0]!, block, readers, seconds: scale.randomSeconds }),
    raw: { do: 'random', key: big[0]!.key, size: scale.big, block, readers, seconds: scale.randomSeconds },
    rate: { block, readers },
    bytes: block,
    total: 0,
  });
  const reread = (name: string, title: string, before: NonNullable<Workload['before']>): Workload => ({
    name,
    title,
    bucket: 'quarters',
    unit: 's',
    before,
    job: readAll(one),
    plan: [],
    total: 1,
    bytes: scale.big / 4,
  });
  return [
    {
      name: 'seqread1',
      title: `read ${size(scale.big)}, one reader`,
      bucket: 'big',
      unit: 's',
      job: readAll(big),
      plan: plan1,
      raw: { do: 'plan', plan: plan1 },
      total: 1,
      bytes: scale.big,
    },
    {
      name: 'seqread4',
      title: `read 4 × ${size(scale.big / 4)} at once`,
      bucket: 'quarters',
      unit: 's',
      job: readAll(quarters),
      plan: plan4,
      raw: { do: 'plan', plan: plan4 },
      total: 4,
      bytes: scale.big,
    },
    random('rand4k_1', 4 * KIB, 1),
    random('rand4k_16', 4 * KIB, 16),
    random('rand256k_1', 256 * KIB, 1),
    random('rand256k_16', 256 * KIB, 16),
    {
      name: 'read5m',
      title: `read ${scale.middling} files of 5 MiB in turn`,
      bucket: 'middling',
      unit: 's',
      job: place => ({ do: 'read-each', files: read(place, middling) }),
      plan: getWhole(keysOf(middling), MIDDLING_SIZE),
      raw: { do: 'plan', plan: getWhole(keysOf(middling), MIDDLING_SIZE) },
      total: scale.middling,
      bytes: scale.middling * MIDDLING_SIZE,
    },
    {
      name: 'ttfb',
      title: `first 4 KiB of ${scale.firstBytes} files of 5 MiB in turn`,
      bucket: 'middling',
      unit: 's',
      job: place => ({ do: 'read-each', files: read(place, first), first: 4 * KIB }),
      plan: planFirst,
      raw: { do: 'plan', plan: planFirst },
      total: scale.firstBytes,
    },
    reread('reread', `read ${size(scale.big / 4)} a second time`, 'same-mount'),
    {
      ...reread(
        'reread_remount',
        `read ${size(scale.big / 4)} again after a remount, from a cache on disk`,
        'other-mount',
      ),
      cache: true,
    },
  ];
}

function writing(scale: Scale): Workload[] {
  const write = (name: string, title: string, count: number): Workload => {
    const each = scale.big / count;
    const keys = Array.from({ length: count }, (_, i) => fileName(i));
    const plan = upload(keys, each);
    return {
      name,
      title,
      bucket: 'out',
      unit: 's',
      changes: true,
      job: place => ({ do: 'write', paths: paths(place, count), size: each }),
      plan,
      raw: { do: 'plan', plan },
      total: count,
      bytes: scale.big,
      outcome: {
        settled: ({ files, bytes }) => files === count && bytes === scale.big,
        objects: keys.map(key => ({ key, size: each })),
      },
    };
  };
  const [changed] = filesOf('changed', scale);
  const { key, size: length } = changed!;
  const middle = length / 2 + 123 * 4096;
  const [moved] = filesOf('moved', scale);
  const small = filesOf('small', scale);
  const pairs = small.map(file => ({ from: file.key, key: `e/${file.key.slice(2)}`, size: file.size }));
  return [
    write('seqwrite1', `write ${size(scale.big)}, one writer`, 1),
    write('seqwrite4', `write 4 × ${size(scale.big / 4)} at once`, 4),
    {
      name: 'append1k',
      title: `append 1 KiB to ${size(scale.changed)}`,
      bucket: 'changed',
      unit: 's',
      changes: true,
      job: place => ({ do: 'append', path: `${place.mount}/${key}`, bytes: KIB }),
      plan: rewrite(key, length, length, KIB),
      raw: { do: 'plan', plan: rewrite(key, length, length, KIB) },
      total: 1,
      outcome: {
        settled: ({ bytes }) => bytes === length + KIB,
        objects: [
          { key, size: length + KIB, range: { offset: length, length: KIB } },
          { key, size: length + KIB, seed: 8, range: { offset: 0, length: 64 * KIB } },
        ],
      },
    },
    {
      name: 'patch4k',
      title: `change 4 KiB in the middle of ${size(scale.changed)}`,
      bucket: 'changed',
      unit: 's',
      changes: true,
      job: place => ({ do: 'patch', path: `${place.mount}/${key}`, offset: middle, bytes: 4 * KIB }),
      plan: rewrite(key, length, middle, 4 * KIB),
      raw: { do: 'plan', plan: rewrite(key, length, middle, 4 * KIB) },
      total: 1,
      outcome: {
        settled: ({ bytes, digest }, before) => bytes === length && digest !== before.digest,
        objects: [
          { key, size: length, range: { offset: middle, length: 4 * KIB } },
          { key, size: length, seed: 8, range: { offset: middle + 4 * KIB, length: 64 * KIB } },
        ],
      },
    },
    {
      name: 'rename_file',
      title: `rename a file of ${size(scale.moved)}`,
      bucket: 'moved',
      unit: 's',
      changes: true,
      job: place => ({ do: 'rename', from: `${place.mount}/${moved!.key}`, to: `${place.mount}/d/moved` }),
      plan: renameFile(moved!.key, 'd/moved', scale.moved),
      raw: { do: 'plan', plan: renameFile(moved!.key, 'd/moved', scale.moved) },
      total: 1,
      outcome: {
        settled: ({ files, bytes, digest }, before) => files === 1 && bytes === scale.moved && digest !== before.digest,
        objects: [{ key: 'd/moved', size: scale.moved, seed: 9, range: { offset: 0, length: 64 * KIB } }],
      },
    },
    {
      name: 'rename_dir',
      title: `rename a directory of ${scale.small} files`,
      bucket: 'small',
      unit: 's',
      changes: true,
      job: place => ({ do: 'rename', from: `${place.mount}/d`, to: `${place.mount}/e` }),
      plan: [...listAll('d/', keysOf(small)), ...renameDirectory(pairs)],
      raw: { do: 'plan', plan: renameDirectory(pairs) },
      total: 1,
      outcome: {
        settled: ({ files, bytes, digest }, before) =>
          files === scale.small && bytes === scale.small * SMALL_SIZE && digest !== before.digest,
        objects: [0, scale.small - 1].map(i => ({ key: `e/${fileName(i)}`, size: SMALL_SIZE, seed: 4 })),
      },
    },
  ];
}

function manyFiles(scale: Scale): Workload[] {
  const files = filesOf('tree', scale);
  const bytes = totalBytes(files);
  const small = filesOf('small', scale);
  const created = Array.from({ length: scale.small }, (_, i) => ({ key: fileName(i), size: SMALL_SIZE }));
  const keys = keysOf(files);
  const sample = files.filter((_, i) => i % Math.ceil(files.length / 16) === 0);
  return [
    {
      name: 'cp_in',
      title: `cp -r of ${scale.treeFiles} files of 0.5–300 KiB in ${scale.treeDirectories} directories, in`,
      bucket: 'out',
      unit: 's',
      changes: true,
      job: place => ({ do: 'run', command: ['cp', '-r', place.tree, `${place.mount}/t`] }),
      plan: putFiles(files),
      planInTurn: putFiles(files, 1),
      raw: { do: 'plan', plan: putFiles(files) },
      total: scale.treeFiles,
      count: 'in-bucket',
      bytes,
      outcome: { settled: contents => contents.files === files.length && contents.bytes === bytes, objects: sample },
    },
    {
      name: 'cp_out',
      title: 'cp -r of the same tree, out',
      bucket: 'tree',
      unit: 's',
      attributes: true,
      job: place => ({ do: 'run', command: ['cp', '-r', `${place.mount}/t`, `${place.scratch}/t`] }),
      plan: [...listAll('t/', keys), ...getFiles(files)],
      raw: { do: 'plan', plan: getFiles(files) },
      total: scale.treeFiles,
      count: 'in-scratch',
      bytes,
    },
    {
      name: 'rm_r',
      title: 'rm -r of the same tree',
      bucket: 'tree',
      unit: 's',
      attributes: true,
      changes: true,
      job: place => ({ do: 'run', command: ['rm', '-r', `${place.mount}/t`] }),
      plan: [...listAll('t/', keys), ...deleteAll(keys)],
      planInTurn: [
        ...listAll('t/', keys),
        { requests: keys.map(key => ({ do: 'delete' as const, keys: [key] })), width: 1 },
      ],
      raw: { do: 'plan', plan: [...listAll('t/', keys), ...deleteAll(keys)] },
      total: scale.treeFiles,
      count: 'gone-from-bucket',
      outcome: { settled: contents => contents.files === 0, objects: [] },
    },
    {
      name: `create${scale.small}`,
      title: `create ${scale.small} files of 4 KiB`,
      bucket: 'out',
      unit: 's',
      changes: true,
      job: place => ({ do: 'create', paths: paths(place, scale.small), size: SMALL_SIZE }),
      plan: putFiles(created),
      planInTurn: putFiles(created, 1),
      raw: { do: 'plan', plan: putFiles(created) },
      total: scale.small,
      outcome: {
        settled: contents => contents.files === scale.small && contents.bytes === scale.small * SMALL_SIZE,
        objects: created.filter((_, i) => i % 97 === 0),
      },
    },
    {
      name: `stat${scale.small}`,
      title: `stat ${scale.small} files`,
      bucket: 'small',
      unit: 's',
      attributes: true,
      job: place => ({ do: 'stat', paths: read(place, small).map(({ path }) => path), size: SMALL_SIZE }),
      plan: listAll('d/', keysOf(small)),
      raw: { do: 'plan', plan: listAll('d/', keysOf(small)) },
      total: scale.small,
    },
    {
      name: `read${scale.small}`,
      title: `read ${scale.small} files of 4 KiB in turn`,
      bucket: 'small',
      unit: 's',
      attributes: true,
      job: place => ({ do: 'read-each', files: read(place, small) }),
      plan: [...listAll('d/', keysOf(small)), ...getFiles(small)],
      raw: { do: 'plan', plan: getFiles(small) },
      total: scale.small,
      bytes: scale.small * SMALL_SIZE,
    },
    {
      name: `unlink${scale.small}`,
      title: `unlink ${scale.small} files`,
      bucket: 'small',
      unit: 's',
      attributes: true,
      changes: true,
      job: place => ({ do: 'unlink', paths: read(place, small).map(({ path }) => path) }),
      plan: [...listAll('d/', keysOf(small)), ...deleteAll(keysOf(small))],
      planInTurn: [
        ...listAll('d/', keysOf(small)),
        { requests: small.map(({ key }) => ({ do: 'delete' as const, keys: [key] })), width: 1 },
      ],
      raw: { do: 'plan', plan: deleteAll(keysOf(small)) },
      total: scale.small,
      outcome: { settled: contents => contents.files === 0, objects: [] },
    },
  ];
}

function listing(scale: Scale): Workload[] {
  const list = (name: string, bucket: BucketName, count: number, before?: Workload['before']): Workload => {
    const plan = listAll('d/', keysOf(filesOf(bucket, scale)));
    const again = before === undefined ? '' : before === 'same-mount' ? ', a second time' : ', again after a remount';
    return {
      name,
      title: `ls -l of ${count.toLocaleString('en')} files${again}`,
      bucket,
      unit: 's',
      attributes: true,
      ...(before === undefined ? { raw: { do: 'plan', plan } } : { before }),
      plan: before === 'same-mount' ? [] : plan,
      // -U: in the order of the listing, so that sorting is not part of the figure.
      job: place => ({
        do: 'run',
        command: ['ls', '-lU', `${place.mount}/d`],
        output: `${place.scratch}/${OUTPUT}`,
      }),
      total: count,
      count: 'lines',
      extraLines: 1,
    };
  };
  const deepPlan = listAll('d/', keysOf(filesOf('deep', scale)));
  return [
    list('ls_l_small', 'small', scale.small),
    list('ls_l_many', 'many', scale.many),
    list('second_ls', 'many', scale.many, 'same-mount'),
    list('second_ls_remount', 'many', scale.many, 'other-mount'),
    list('ls_l_most', 'most', scale.most),
    {
      name: 'find',
      title: `find over ${scale.most.toLocaleString('en')} files in ${scale.directories.toLocaleString('en')} directories`,
      bucket: 'deep',
      unit: 's',
      attributes: true,
      job: place => ({
        do: 'run',
        command: ['find', `${place.mount}/d`, '-type', 'f'],
        output: `${place.scratch}/${OUTPUT}`,
      }),
      plan: deepPlan,
      raw: { do: 'plan', plan: deepPlan },
      total: scale.most,
      count: 'lines',
    },
  ];
}

export function workloadsOf(scale: Scale): Workload[] {
  const nothing = (): LoadJob => ({ do: 'stat', paths: [], size: 0 });
  return [
    {
      name: 'mount_time',
      title: 'mount, and list its root',
      bucket: 'small',
      unit: 's',
      kind: 'mount-time',
      job: nothing,
      total: 0,
    },
    {
      name: 'idle_memory',
      title: 'resident memory of an idle mount',
      bucket: 'small',
      unit: 'MiB',
      kind: 'idle-memory',
      job: nothing,
      total: 0,
    },
    ...reading(scale),
    ...writing(scale),
    ...manyFiles(scale),
    ...listing(scale),
  ];
}
