/**
 * What a unit does not have although the shell that asks for it has it: variables.
 *
 * They are told and not written into it: every user of the machine may read a unit, and keys and passwords of proxies are among them.
 */
import { readFileSync } from 'node:fs';
import { environmentName, OPTION_NAMES, type OptionName, type OptionValues } from './option-table.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const KEYS: ReadonlySet<string> = new Set([
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWSACCESSKEYID',
  'AWSSECRETACCESSKEY',
  'AWSSESSIONTOKEN',
]);

/** Variables that an option says as well. */
const OPTIONS: ReadonlyMap<string, OptionName> = new Map<string, OptionName>([
  ['AWS_PROFILE', 'profile'],
  ['AWS_REGION', 'region'],
  ['AWS_ENDPOINT_URL', 'url'],
  ['AWS_ENDPOINT_URL_S3', 'url'],
  ...OPTION_NAMES.map((name): [string, OptionName] => [environmentName(name), name]),
]);

const OTHERS = /^(AWS_[A-Z0-9_]+|AWSSSE[A-Z]+|NODE_EXTRA_CA_CERTS|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY)$/;
/** Of the AWS CLI alone, or told by shells that AWS serves. */
const IDLE = /^AWS_(PAGER|CLI_.*|DEFAULT_(OUTPUT|REGION)|EXECUTION_ENV|PS1|VAULT.*|TOOLING_.*)$/;

/** Sentences for what is set in `env` and would change the mount. `values`: what the unit says by options. */
export function* missingVariables(
  env: Environment,
  values: OptionValues,
  unit: string,
  own: boolean,
): Iterable<string> {
  const set = Object.keys(env).filter(name => env[name]);
  const keys = set.filter(name => KEYS.has(name));
  if (keys.length > 0) {
    yield `${keys.join(', ')} of this shell ${are(keys)} not in the unit: a service reads the files of its user, or the instance's role.`;
  }
  const options = set.filter(name => {
    const option = OPTIONS.get(name);
    const isOverruled = name === 'AWS_ENDPOINT_URL' && env['AWS_ENDPOINT_URL_S3'];
    return option !== undefined && values[option] === undefined && !isOverruled;
  });
  if (options.length > 0) {
    const words = options.map(name => `${OPTIONS.get(name)}=${env[name]}`);
    yield `${options.join(', ')} of this shell ${are(options)} not in the unit; say it after -o: ${words.join(',')}`;
  }
  const others = set.filter(name => OTHERS.test(name) && !IDLE.test(name) && !KEYS.has(name) && !OPTIONS.has(name));
  if (others.length > 0) {
    const edit = `systemctl ${own ? '--user ' : ''}edit ${unit}`;
    yield `${others.join(', ')} of this shell ${are(others)} not in the unit; if the mount needs ${others.length === 1 ? 'it' : 'them'}: ${edit}, and below [Service] ${others.map(name => `Environment=${name}=…`).join(', ')}`;
  }
}

function are(names: readonly string[]): string {
  return names.length === 1 ? 'is' : 'are';
}

/** Variables of whoever asks: sudo hands few of them on, and shows its own to root. */
export function askersEnvironment(env: Environment, parent = process.ppid, read = readProcess): Environment {
  if (env['SUDO_UID'] === undefined) return env;
  try {
    if (read(parent, 'comm').trim() !== 'sudo') return env;
    const pairs = read(parent, 'environ')
      .split('\0')
      .filter(pair => pair.includes('='));
    const before = pairs.map(pair => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)] as const);
    return { ...Object.fromEntries(before), ...env };
  } catch {
    return env;
  }
}

function readProcess(pid: number, file: string): string {
  return readFileSync(`/proc/${pid}/${file}`, 'utf8');
}
