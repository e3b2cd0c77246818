/** `use_sse`, `load_sse_c` and the variables beside them: how objects are encrypted, and by whose keys they are read. */
import { readFile, stat } from 'node:fs/promises';
import type { S3StoreOptions } from '../s3/open-store.ts';
import { CliError, EXIT, usageError } from './exit-codes.ts';
import { present } from './filesystem-options.ts';
import type { OptionValues } from './option-table.ts';

type EncryptionOptions = Pick<S3StoreOptions, 'encryption' | 'customerKeys'>;

/** Bytes of a key; what is longer in a file is base64, as in s3fs. */
const KEY_BYTES = 32;

/** Reads the files of keys that are named. Throws a `CliError`, never with a key in it. */
export async function encryptionOptions(
  values: OptionValues,
  env: Readonly<Record<string, string | undefined>>,
  url: string | undefined,
): Promise<EncryptionOptions> {
  const { use_sse: sse, load_sse_c: history } = values;
  const custom = /^(?:custom|c)(?::(.+))?$/.exec(sse ?? '');
  if (!custom) return present({ encryption: byService(sse, env), customerKeys: await readingOnly(history, env, url) });
  const files = [custom[1], history].filter(file => file !== undefined);
  const keys = [...(await keysOfFiles(files)), ...keysOfVariable(env)];
  if (keys.length === 0) {
    throw usageError(
      'use_sse=custom needs a key: use_sse=custom:FILE, load_sse_c=FILE, or AWSSSECKEYS in the environment.',
    );
  }
  refuseInClear(url);
  return { customerKeys: { keys, write: true } };
}

/** `use_sse`, `use_sse=kmsid`, `use_sse=kmsid:ID`; without an ID and AWSSSEKMSID it is the account's key for S3. */
function byService(
  sse: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): EncryptionOptions['encryption'] {
  if (sse === undefined || sse === '0') return undefined;
  if (sse === '1') return { algorithm: 'AES256' };
  return {
    algorithm: 'aws:kms',
    ...present({ kmsKeyId: /:(.+)$/.exec(sse)?.[1] ?? (env['AWSSSEKMSID'] || undefined) }),
  };
}

async function readingOnly(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  url: string | undefined,
): Promise<EncryptionOptions['customerKeys']> {
  const keys = [...(await keysOfFiles(file === undefined ? [] : [file])), ...keysOfVariable(env)];
  if (keys.length === 0) return undefined;
  refuseInClear(url);
  return { keys, write: false };
}

/** A line each; the first is the newest. Blank lines and comments are passed over. */
async function keysOfFiles(files: readonly string[]): Promise<Uint8Array[]> {
  const keys: Uint8Array[] = [];
  for (const file of files) {
    let text: string;
    let mode: number;
    try {
      text = await readFile(file, 'utf8');
      ({ mode } = await stat(file));
    } catch (error) {
      throw usageError(`the file of SSE-C keys ${file} cannot be read: ${(error as Error).message}.`);
    }
    if (mode & 0o077) {
      throw new CliError(
        EXIT.credentials,
        `the file of SSE-C keys ${file} is open to others; run: chmod 0600 ${file}.`,
      );
    }
    const before = keys.length;
    text.split('\n').forEach((raw, index) => {
      const line = raw.trim();
      if (line !== '' && !line.startsWith('#')) keys.push(keyOf(line, `${file}, line ${index + 1}`));
    });
    if (keys.length === before) throw usageError(`the file of SSE-C keys ${file} holds none.`);
  }
  return keys;
}

function keysOfVariable({ AWSSSECKEYS: text }: Readonly<Record<string, string | undefined>>): Uint8Array[] {
  const words = (text ?? '').split(':').filter(word => word !== '');
  return words.map((word, index) => keyOf(word, `AWSSSECKEYS, key ${index + 1}`));
}

function keyOf(text: string, at: string): Uint8Array {
  const bytes = text.length > KEY_BYTES ? Buffer.from(text, 'base64') : Buffer.from(text);
  if (bytes.length === KEY_BYTES) return bytes;
  throw usageError(`${at}: a key has 32 bytes, or is the base64 of 32 bytes (openssl rand -base64 32 makes one).`);
}

/** S3 refuses such requests over plain HTTP, but by then the key was sent. */
function refuseInClear(url: string | undefined): void {
  if (url === undefined || !url.startsWith('http:')) return;
  const { hostname } = new URL(url);
  if (/^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)) return;
  throw usageError(`SSE-C sends the key with each request: ${url} must be https.`);
}
