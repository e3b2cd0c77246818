/**
 * A process of its own that takes mounts and processes down when the test is over, has died, or hangs.
 *
 * A test that waits in a system call on a mount whose daemon is stuck runs no timer of its own any more; tap's limit ends
 * the process, but not the mount.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/**
 * `$1` seconds; lines of its stdin until then or until the writer has gone: `pid N`, `mount DIR`, `mode OCTAL FILE`. In the
 * end all of that is undone, the mounts after the processes: without its daemon no mount keeps anybody waiting.
 */
const SCRIPT = `
lines=$(timeout "$1" cat)
printf '%s\\n' "$lines" | while read -r kind value; do [ "$kind" = pid ] && kill -9 "$value" 2>/dev/null; done
printf '%s\\n' "$lines" | while read -r kind value; do
  case $kind in
    mount) if mountpoint -q "$value" || ! [ -d "$value" ]; then fusermount3 -uzq "$value" || umount -l "$value"; fi ;;
    mode) chmod $value ;;
  esac
done 2>/dev/null
`;

export class Guard {
  readonly #child: ChildProcess;

  /** `seconds`: after so long the test has hung. */
  constructor(seconds: number) {
    this.#child = spawn('sh', ['-c', SCRIPT, 'guard', String(seconds)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child.unref();
    // It may end first, by its limit.
    this.#child.stdin!.on('error', () => {});
    (this.#child.stdin as unknown as { unref?(): void }).unref?.();
  }

  process(pid: number): void {
    this.#tell(`pid ${pid}`);
  }

  mount(directory: string): void {
    this.#tell(`mount ${directory}`);
  }

  /** The file gets this mode again in the end. */
  mode(file: string, mode: number): void {
    this.#tell(`mode ${mode.toString(8)} ${file}`);
  }

  #tell(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** The end of the test: takes down what is left, then resolves. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise<void>(resolve => this.#child.once('exit', () => resolve()));
    this.#child.ref();
    this.#child.stdin!.end();
    await ended;
  }
}
