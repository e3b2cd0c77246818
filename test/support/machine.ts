/**
 * A Debian that is booted with systemd in a container of its own (systemd-nspawn), thrown away afterwards.
 *
 * What debootstrap unpacked is kept between runs and lies under an overlay: each machine starts from the same bytes. It
 * shares the network of the host, so that a server on the loopback is reachable from inside.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../node_modules/.s3mount-boot', import.meta.url));
/** libpam-systemd: users have service managers of their own. */
const PACKAGES = 'systemd,systemd-sysv,libpam-systemd,dbus,fuse3,ca-certificates';
const SUITE = 'bookworm';
/** systemd-nspawn's exit code when the system inside asked to be booted again. */
const REBOOT = 133;
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Throws with what the program said. */
function command(program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${error?.message ?? (stderr || stdout)}`);
  return stdout;
}

/** Unpacked once; a run that was interrupted leaves nothing that looks whole. */
function base(): string {
  // Other packages are another base.
  const root = join(CACHE, `${SUITE}-${createHash('sha256').update(PACKAGES).digest('hex').slice(0, 8)}`);
  if (existsSync(root)) return root;
  const unfinished = `${root}.${process.pid}`;
  mkdirSync(CACHE, { recursive: true });
  try {
    command('debootstrap', '--variant=minbase', `--include=${PACKAGES}`, SUITE, unfinished);
    renameSync(unfinished, root);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return root;
}

export class Machine {
  readonly root: string;
  readonly #work: string;

  constructor() {
    const lower = base();
    this.#work = mkdtempSync(join(tmpdir(), 's3mount-machine-'));
    const [upper, work, root] = ['upper', 'work', 'root'].map(name => join(this.#work, name)) as [
      string,
      string,
      string,
    ];
    this.root = root;
    // In memory: an overlay's upper directory cannot lie on an overlay, as /tmp does in some containers.
    command('mount', '-t', 'tmpfs', '-o', 'size=1g', 'tmpfs', this.#work);
    for (const directory of [upper, work, root]) mkdirSync(directory);
    command('mount', '-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, root);
  }

  write(path: string, text: string | Uint8Array, mode = 0o644): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text, { mode });
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), 'utf8');
  }

  /** Runs a command line in it without booting it. */
  run(line: string): string {
    // What a test runner puts into the environment of Node names files that are not in there.
    return command(
      'env',
      '-i',
      PATH,
      'HOME=/root',
      'DEBIAN_FRONTEND=noninteractive',
      'chroot',
      this.root,
      'sh',
      '-c',
      line,
    );
  }

  /** Boots it, again as often as it reboots, and resolves when it has powered off. `limit` in ms, for each boot. */
  async boot(limit: number): Promise<void> {
    for (;;) {
      const { code, console } = await this.#bootOnce(limit);
      if (code === 0) return;
      if (code !== REBOOT) throw new Error(`the machine ended with ${code}; its console:\n${console.slice(-4_000)}`);
    }
  }

  async #bootOnce(limit: number): Promise<{ readonly code: number | string; readonly console: string }> {
    const child = spawn(
      'systemd-nspawn',
      [
        '-bD',
        this.root,
        `--machine=${basename(this.#work)}`,
        '--register=no',
        '--keep-unit',
        '--bind=/dev/fuse',
        // Without it systemd knows no automounts.
        ...(existsSync('/dev/autofs') ? ['--bind=/dev/autofs'] : []),
        '--capability=all',
        '--property=DeviceAllow=/dev/fuse rwm',
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let console = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        console += text;
      });
    }
    const timer = setTimeout(() => {
      // The system inside is a child of it, and would live on.
      spawnSync('pkill', ['-KILL', '-P', String(child.pid)]);
      child.kill('SIGKILL');
    }, limit);
    const code = await new Promise<number | string>(resolve =>
      child.once('close', (status, signal) => resolve(status ?? signal ?? '')),
    );
    clearTimeout(timer);
    return { code, console };
  }

  /** Takes it away, with everything that is mounted in it. */
  destroy(): void {
    spawnSync('umount', ['-R', '-l', this.root]);
    spawnSync('umount', ['-l', this.#work]);
    rmSync(this.#work, { recursive: true, force: true });
  }
}
