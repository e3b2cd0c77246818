/** Puts a unit where systemd looks and starts it, after a look at whether the mount can come up there at all. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mountPointPath, mountStateOf } from '../fuse/mount-state.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { ALLOW_OTHER_LINE, allowOthersIn, FUSE_CONF } from './fuse-conf.ts';
import { prepareMountPoint } from './mount-point.ts';
import { type UnitSpec, unitFile, unitName } from './unit-file.ts';

/** Whoever runs the unit. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface InstallParts {
  readonly spec: UnitSpec;
  /** Absent: root, or the caller in their own service manager. */
  readonly account: Account | undefined;
  readonly nonempty: boolean;
  /** Where the service manager looks for units. */
  readonly directory: string;
  /** Undefined if it went well, else what was said. */
  readonly systemctl: (...words: readonly string[]) => string | undefined;
  readonly say: (line: string) => void;
}

/** Throws a `CliError`. */
export async function installUnit({ spec, account, nonempty, directory, systemctl, say }: InstallParts): Promise<void> {
  const name = unitName(spec.mountPoint);
  const file = join(directory, name);
  const text = unitFile(spec);
  const before = readUnit(file);
  // What this unit has mounted does not stand in its way.
  const isActive = before !== undefined && systemctl('is-active', '--quiet', name) === undefined;
  try {
    if (!isActive) await preparePlace(spec.mountPoint, account, nonempty);
    if (spec.runsAs.kind === 'user' && /(^|,)allow_other(,|$)/.test(spec.options) && allowOthersIn()) {
      say(`s3mount: ${FUSE_CONF} now says ${ALLOW_OTHER_LINE}.`);
    }
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o644 });
  } catch (error) {
    if (error instanceof CliError) throw error;
    const asRoot = spec.runsAs.kind === 'user-manager' || process.getuid!() === 0 ? '' : 'run it as root, or ';
    throw new CliError(
      EXIT.mount,
      `the unit could not be installed: ${(error as Error).message}; ${asRoot}leave out --install to have it printed.`,
    );
  }
  say(`s3mount: wrote ${file}`);
  for (const words of [['daemon-reload'], ['enable', '--now', name]]) {
    const failure = systemctl(...words);
    if (failure !== undefined) {
      throw new CliError(EXIT.mount, `systemctl ${words.join(' ')} failed: ${failure}; see systemctl status ${name}.`);
    }
  }
  if (isActive && before !== text) {
    say(`s3mount: ${name} runs with what it was started with; with what it says now after: systemctl restart ${name}`);
  }
  say(`s3mount: ${spec.source} is mounted at ${spec.mountPoint}, now and at each boot.`);
}

function readUnit(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** A unit whose place is taken would be started again for ever, and nobody would be told. */
async function preparePlace(path: string, account: Account | undefined, nonempty: boolean): Promise<void> {
  if (await isThere(path)) {
    await prepareMountPoint(path, { nonempty });
    if ((await mountStateOf(path)).state !== 'awaited') checkMayMount(path, account);
    return;
  }
  mkdirSync(path, { recursive: true });
  if (account !== undefined && statSync(path).uid !== account.uid) {
    execFileSync('chown', [`${account.uid}:${account.gid}`, path]);
  }
}

function isThere(path: string): Promise<boolean> {
  return mountPointPath(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

/** fusermount3 mounts only where the user may write, and where the sticky bit is set, what they own. */
function checkMayMount(path: string, account: Account | undefined): void {
  if (account === undefined || account.uid === 0) return;
  const { uid, mode } = statSync(path);
  if (uid === account.uid || (mode & 0o022 && !(mode & 0o1000))) return;
  throw new CliError(
    EXIT.mountPoint,
    `mount point ${path} does not belong to ${account.name} (its owner has uid ${uid}), who may not mount there; run: chown ${account.name} ${path}.`,
  );
}
