/** The way to S3: address, proxy, certificates, kinds of endpoints. From options first, then from the variables that the AWS CLI and curl read. */
import { lookup as systemLookup } from 'node:dns';
import { readFile, stat } from 'node:fs/promises';
import type { Lookup } from '../s3/http-addresses.ts';
import { INSTANCE_METADATA } from '../s3/instance-metadata.ts';
import type { S3StoreOptions } from '../s3/open-store.ts';
import { CliError, EXIT, usageError } from './exit-codes.ts';
import { present } from './filesystem-options.ts';
import type { OptionValues } from './option-table.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

type NetworkOptions = Pick<S3StoreOptions, 'url' | 'proxy' | 'tls' | 'variant' | 'instanceMetadata' | 'lookup'>;

/** `ca`: PEM of AWS_CA_BUNDLE. Reads the files that options name. Throws `CliError`. */
export async function networkOptions(
  values: OptionValues,
  env: Environment,
  ca: string | undefined,
): Promise<NetworkOptions> {
  return present({
    url: values.url ?? endpointUrl(env),
    proxy: await proxySettings(values, env),
    tls: await tlsSettings(values, env, ca),
    variant: present({
      dualStack: values.dual_stack ?? isTrue(env['AWS_USE_DUALSTACK_ENDPOINT']),
      fips: values.fips ?? isTrue(env['AWS_USE_FIPS_ENDPOINT']),
      accelerate: values.transfer_acceleration,
    }),
    instanceMetadata: metadataService(env),
    lookup: lookupOf(values.ipresolve),
  });
}

/** As the AWS CLI has it: the variable for S3 before that for all services. */
export function endpointUrl(env: Environment): string | undefined {
  if (isTrue(env['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS'])) return undefined;
  return env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'] || undefined;
}

/** Where the instance is asked about itself; undefined: it is not. */
export function metadataService(env: Environment): string | undefined {
  if (isTrue(env['AWS_EC2_METADATA_DISABLED'])) return undefined;
  const named = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'];
  if (named) return named;
  return env['AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE']?.toLowerCase() === 'ipv6'
    ? 'http://[fd00:ec2::254]'
    : INSTANCE_METADATA;
}

/** Small letters first, as curl and Python have it. */
async function proxySettings(values: OptionValues, env: Environment): Promise<NetworkOptions['proxy']> {
  const variable = (name: string): string | undefined => env[name] || env[name.toUpperCase()] || undefined;
  const { proxy } = values;
  const secure = proxy ?? variable('https_proxy') ?? variable('all_proxy');
  const plain = proxy ?? variable('http_proxy') ?? variable('all_proxy');
  if (secure === undefined && plain === undefined) {
    if (values.proxy_cred_file === undefined) return undefined;
    throw usageError('proxy_cred_file is for a proxy: name that by proxy= or https_proxy.');
  }
  const login = values.proxy_cred_file === undefined ? undefined : await proxyLogin(values.proxy_cred_file);
  // `proxy=` is about this mount: no_proxy is about the variables, but excepts hosts here too, as in curl.
  return present({ secure, plain, except: variable('no_proxy'), login });
}

/** s3fs's format: USER:PASSWORD, each encoded as in a URL. */
async function proxyLogin(path: string): Promise<string> {
  const text = await readText(path, 'proxy_cred_file');
  if ((await stat(path)).mode & 0o077) {
    throw new CliError(EXIT.credentials, `proxy_cred_file ${path} is open to others; run: chmod 0600 ${path}.`);
  }
  const line = text.split('\n', 1)[0]!.trim();
  const parts = /^([^:]+):(.*)$/.exec(line);
  if (!parts) throw new CliError(EXIT.credentials, `proxy_cred_file ${path} should hold one line USER:PASSWORD.`);
  try {
    return `${decodeURIComponent(parts[1]!)}:${decodeURIComponent(parts[2]!)}`;
  } catch {
    throw new CliError(EXIT.credentials, `proxy_cred_file ${path}: a % in it must be written %25.`);
  }
}

async function tlsSettings(
  values: OptionValues,
  env: Environment,
  ca: string | undefined,
): Promise<NetworkOptions['tls']> {
  const check = values.no_check_certificate ? 'none' : values.ssl_verify_hostname === false ? 'chain' : undefined;
  const own = values.ssl_client_cert === undefined ? {} : await clientCertificate(values.ssl_client_cert, env);
  const settings = present({ ca, check: check as 'none' | 'chain' | undefined, ciphers: values.cipher_suites });
  const all = { ...settings, ...own };
  return Object.keys(all).length === 0 ? undefined : all;
}

/** `CERT[:TYPE[:KEY[:TYPE]]]` as s3fs has it; the key may stand in the same file. */
async function clientCertificate(
  text: string,
  env: Environment,
): Promise<{ readonly cert: string; readonly key: string; readonly passphrase?: string }> {
  const [certFile = '', certType = 'PEM', keyFile = '', keyType = 'PEM', password] = text.split(':');
  if (password !== undefined) {
    throw usageError(
      'ssl_client_cert must not hold the password: everybody on this machine sees it; set S3FS_SSL_PRIVKEY_PASSWORD.',
    );
  }
  for (const type of [certType, keyType]) {
    if (type !== '' && type.toUpperCase() !== 'PEM') throw usageError(`ssl_client_cert: only PEM files, not ${type}.`);
  }
  for (const file of [certFile, keyFile]) {
    // The daemon stands in `/`.
    if (file !== '' && !file.startsWith('/')) throw usageError(`ssl_client_cert: give ${file} with its whole path.`);
  }
  const cert = await readText(certFile, 'ssl_client_cert');
  const key = keyFile === '' ? cert : await readText(keyFile, 'ssl_client_cert');
  return { cert, key, ...present({ passphrase: env['S3FS_SSL_PRIVKEY_PASSWORD'] || undefined }) };
}

async function readText(path: string, option: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new CliError(EXIT.usage, `${option}: ${path} cannot be read: ${(error as Error).message}.`);
  }
}

function lookupOf(kind: OptionValues['ipresolve']): Lookup | undefined {
  if (kind === undefined || kind === 'whatever') return undefined;
  const family = kind === 'ipv4' ? 4 : 6;
  return host =>
    new Promise((resolve, reject) => {
      systemLookup(host, { all: true, family }, (error, found) => {
        if (error) reject(error);
        else resolve(found.map(({ address }) => address));
      });
    });
}

function isTrue(text: string | undefined): true | undefined {
  return text !== undefined && /^(true|1|yes|on)$/i.test(text) ? true : undefined;
}
