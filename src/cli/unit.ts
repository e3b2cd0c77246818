/** `s3mount unit`: prints a systemd unit for a mount, or installs and starts it. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { CommandOutput } from './commands.ts';
import { configDirectories } from './config-file.ts';
import { usageError } from './exit-codes.ts';
import { ALLOW_OTHER_LINE, allowsOthers, FUSE_CONF, readFuseConf } from './fuse-conf.ts';
import { OPTION_OF_WORD, type OptionName, specOf } from './option-table.ts';
import { formatOptionList, type OptionWord } from './option-words.ts';
import { type Config, type MountArguments, readConfig } from './options.ts';
import { programWords } from './program-path.ts';
import { askersEnvironment, missingVariables } from './unit-environment.ts';
import { type RunsAs, type UnitSpec, unitFile, unitName } from './unit-file.ts';
import { type Account, installUnit } from './unit-install.ts';

export interface UnitRequest {
  readonly mount: MountArguments;
  /** Who runs it, by name; absent: root, or the caller's own service manager. */
  readonly user: string | undefined;
  readonly install: boolean;
}

export async function unitCommand(request: UnitRequest, { print, say, env }: CommandOutput): Promise<void> {
  const account = request.user === undefined ? undefined : accountOf(request.user);
  const words = atHome(request.mount.words, account?.home ?? homedir());
  const config = readConfig(
    { ...request.mount, words },
    { env: {}, cwd: process.cwd(), configDirectories: configDirectories() },
  );
  for (const warning of config.warnings) say(`s3mount: ${warning}`);
  const runsAs = runsAsOf(account);
  const options = formatOptionList(unitOptions(words, config, account));
  const spec: UnitSpec = {
    source: config.source,
    mountPoint: config.mountPoint,
    program: programWords(process.argv[1]!, process.execPath),
    options,
    runsAs,
    fusermount: existsSync('/usr/bin/fusermount3') ? '/usr/bin/fusermount3' : '/bin/fusermount3',
  };
  for (const note of notes(config, runsAs, askersEnvironment(env))) say(`s3mount: ${note}`);
  if (!request.install) {
    print(unitFile(spec).trimEnd());
    return;
  }
  const own = runsAs.kind === 'user-manager';
  await installUnit({
    spec,
    account,
    nonempty: config.values.nonempty ?? false,
    directory: own ? join(homedir(), '.config/systemd/user') : '/etc/systemd/system',
    systemctl: (...words) => systemctl(own ? ['--user', ...words] : words),
    say,
  });
  if (own && !existsSync(`/var/lib/systemd/linger/${userInfo().username}`)) {
    say('s3mount: it starts with your first login; loginctl enable-linger starts it at boot.');
  }
}

/** `~/` of a path is the home of whoever runs the unit: under sudo ours is root's. */
export function atHome(words: readonly OptionWord[], home: string): OptionWord[] {
  return words.map(word => {
    const option = OPTION_OF_WORD.get(word.name);
    const isPath = option !== undefined && (specOf(option).kind.placeholder === 'PATH' || option === 'use_sse');
    if (!isPath || word.value === undefined) return word;
    return { ...word, value: word.value.replace(/^((?:c(?:ustom)?:)?)~(?=\/|$)/, (_, kind) => `${kind}${home}`) };
  });
}

/**
 * What the unit says after -o. A mount for a user that others share shows one owner and modes that let all read, unless
 * the options say otherwise; the paths are absolute, since a service has no working directory.
 */
export function unitOptions(
  words: readonly OptionWord[],
  config: Config,
  account: Pick<Account, 'uid' | 'gid'> | undefined,
): OptionWord[] {
  const canonical = (name: string): string => OPTION_OF_WORD.get(name) ?? name;
  const given = new Set(words.map(({ name }) => canonical(name)));
  const list: OptionWord[] = words
    .filter(({ name }) => name !== 'bucket' && canonical(name) !== 'foreground')
    .map(word => {
      const name = OPTION_OF_WORD.get(word.name);
      const value = name === undefined ? undefined : config.values[name];
      // `use_sse=custom:FILE` names a file too.
      const isPath = typeof value === 'string' && /^(?:c(?:ustom)?:)?\//.test(value);
      return isPath ? { name: word.name, value } : word;
    });
  // Found by its name in this person's directories, it is named by its path for whoever runs the unit.
  const file = config.values.config;
  if (file !== undefined && !given.has('config')) list.unshift({ name: 'config', value: file });
  if (account === undefined) return list;
  const defaults: (OptionWord & { readonly name: OptionName })[] = [
    { name: 'allow_other' },
    { name: 'umask', value: '0022' },
    { name: 'uid', value: String(account.uid) },
    { name: 'gid', value: String(account.gid) },
  ];
  return [...list, ...defaults.filter(({ name }) => config.values[name] === undefined)];
}

function runsAsOf(account: Account | undefined): RunsAs {
  if (account !== undefined) return account.uid === 0 ? { kind: 'root' } : { kind: 'user', name: account.name };
  return process.getuid!() === 0 ? { kind: 'root' } : { kind: 'user-manager' };
}

function accountOf(name: string): Account {
  const { status, stdout } = spawnSync('getent', ['passwd', '--', name], { encoding: 'utf8' });
  const [found, , uid, gid, , home] = stdout?.split(':') ?? [];
  if (status !== 0 || !found) throw usageError(`there is no user '${name}' on this machine; getent passwd lists them.`);
  return { name: found, uid: Number(uid), gid: Number(gid), home: home || '/' };
}

/** What a unit does not have although the person at the terminal has it. */
function* notes(config: Config, runsAs: RunsAs, env: CommandOutput['env']): Iterable<string> {
  yield* missingVariables(env, config.values, unitName(config.mountPoint), runsAs.kind === 'user-manager');
  if (runsAs.kind !== 'root' && config.values.allow_other && !allowsOthers(readFuseConf())) {
    yield `${FUSE_CONF} does not say ${ALLOW_OTHER_LINE}, without which an ordinary user cannot mount with allow_other; as root: echo ${ALLOW_OTHER_LINE} >> ${FUSE_CONF}`;
  }
}

/** Undefined if it went well, else what was said. */
function systemctl(words: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync('systemctl', words, { encoding: 'utf8' });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}
