/** stress-ng's file and filesystem stressors, each verifying what it does. */
import { mkdirSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';

/** Those that need nothing that S3 has not (hard links), by name; operations each, so that it ends by itself. */
const STRESSORS: readonly (readonly [name: string, operations: number, ...more: string[]])[] = [
  ['access', 20],
  ['chmod', 50],
  ['copy-file', 3, '--copy-file-bytes', '128M'],
  ['dentry', 100, '--dentries', '100'],
  ['dir', 20, '--dir-dirs', '64'],
  ['dirdeep', 20, '--dirdeep-dirs', '1', '--dirdeep-inodes', '20'],
  ['dup', 50],
  ['fallocate', 20, '--fallocate-bytes', '4M'],
  ['fcntl', 50],
  ['flock', 100],
  ['fpunch', 5],
  ['fstat', 50],
  ['getdent', 50],
  ['hdd', 200, '--hdd-bytes', '16M'],
  ['lockf', 100],
  ['lockofd', 100],
  ['mknod', 10],
  ['open', 50],
  ['rename', 100],
  ['symlink', 10],
  ['touch', 50],
  ['utime', 50],
];

/** Seconds after which a stressor is stopped: its operations end it before; an alarm in the midst of one would be a failure. */
const LIMIT = 120;

t.test('stress-ng', async t => {
  const mount = await aMount(t, { options: 'suid,dev' });
  for (const [name, operations, ...more] of STRESSORS) {
    const directory = mount.path(`stress-${name}`);
    mkdirSync(directory);
    const count = name === 'rename' || name === 'hdd' ? '2' : '1';
    const args = ['--verify', '--temp-path', directory, '--timeout', `${LIMIT}s`, `--${name}`, count, `--${name}-ops`];
    t.doesNotThrow(() => run('stress-ng', [...args, String(operations), ...more], { cwd: directory }), name);
  }
});
