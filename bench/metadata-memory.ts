/**
 * What a mount takes of memory when programs go through very many keys: resident size and requests after each step.
 *
 *     npx tsx bench/metadata-memory.ts [--keys 1000000] [--stat list]
 *
 * The embedded server runs as a process of its own. Half of the walks go through one directory of all keys, half through
 * directories of a hundred. Needs `npm run build`, /dev/fuse, and the right to mount.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const MIB = 1024 * 1024;

const { values } = parseArgs({
  options: { keys: { type: 'string', default: '1000000' }, stat: { type: 'string', default: 'list' } },
});
const keys = Number(values.keys);

interface Place {
  readonly url: string;
  readonly directory: string;
  readonly children: ChildProcess[];
}

async function startServer(place: { children: ChildProcess[] }): Promise<string> {
  const args = ['--import=tsx', join(root, 'src/embedded-s3/main.ts'), '--bucket=memory', '--key=test:secret'];
  const server = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  place.children.push(server);
  const [text] = (await once(server.stdout.setEncoding('utf8'), 'data')) as [string];
  return text.trim();
}

async function control(url: string, method: 'GET' | 'POST', command: string): Promise<unknown> {
  return (await fetch(`${url}/__embedded/${command}`, { method })).json();
}

async function mount({ url, directory, children }: Place): Promise<ChildProcess> {
  const options = `url=${url},use_path_request_style,umask=0022,stat=${values.stat},state_dir=${join(directory, 'state')}`;
  const env = { ...process.env, AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'secret' };
  const mountPoint = join(directory, 'mnt');
  await run('mkdir', ['-p', mountPoint]);
  const daemon = spawn(join(root, 'bin/s3mount'), ['memory', mountPoint, '-f', '-o', options], {
    env,
    stdio: 'inherit',
  });
  children.push(daemon);
  for (;;) {
    if (readFileSync('/proc/mounts', 'utf8').includes(` ${mountPoint} `)) return daemon;
    if (daemon.exitCode !== null) throw new Error('the mount did not come up');
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

/** MiB of the process itself, not of its parents. */
function memoryOf(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => (Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) * 1024) / MIB;
  return { now: field('VmRSS'), peak: field('VmHWM') };
}

async function measure(place: Place, daemon: ChildProcess, name: string, command: readonly string[]): Promise<void> {
  await control(place.url, 'POST', 'reset');
  const began = performance.now();
  const [program, ...args] = command;
  const shell = `exec "$0" "$@" | wc -l`;
  const { stdout } = await run('sh', ['-c', shell, program!, ...args]);
  const seconds = (performance.now() - began) / 1000;
  const { requests } = (await control(place.url, 'GET', 'stats')) as { requests: Record<string, number> };
  const { now, peak } = memoryOf(daemon.pid!);
  const sent = Object.entries(requests)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
  console.log(
    `${name.padEnd(28)} ${stdout.trim().padStart(9)} lines ${seconds.toFixed(1).padStart(7)} s  ` +
      `${now.toFixed(0).padStart(5)} MiB now ${peak.toFixed(0).padStart(5)} MiB at most  ${sent}`,
  );
}

const children: ChildProcess[] = [];
const directory = mkdtempSync(join(tmpdir(), 's3mount-memory-'));
const mountPoint = join(directory, 'mnt');
try {
  const url = await startServer({ children });
  await control(url, 'POST', `fill?bucket=memory&prefix=flat/&count=${keys}&size=5000`);
  await control(url, 'POST', `fill?bucket=memory&prefix=deep/&count=${keys}&size=5000&fan=100`);
  const place: Place = { url, directory, children };
  const daemon = await mount(place);
  const { now } = memoryOf(daemon.pid!);
  console.log(`${keys} keys twice, stat=${values.stat}; idle ${now.toFixed(0)} MiB`);
  await measure(place, daemon, 'find, small directories', ['find', join(mountPoint, 'deep'), '-type', 'f']);
  await measure(place, daemon, 'ls -f, one directory', ['ls', '-f', join(mountPoint, 'flat')]);
  await measure(place, daemon, 'ls -l, one directory', ['ls', '-l', join(mountPoint, 'flat')]);
  daemon.kill('SIGTERM');
  await once(daemon, 'exit');
} finally {
  for (const child of children) child.kill();
  await run('umount', ['-l', mountPoint]).catch(() => {});
  rmSync(directory, { recursive: true, force: true });
}
