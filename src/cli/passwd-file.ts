/**
 * Credentials in s3fs's file format: `KEY:SECRET`, `bucket:KEY:SECRET`, or `AWSAccessKeyId=…` and `AWSSecretKey=…`; `#`
 * begins a comment. Its permission checks are kept too: a file that others may read is refused.
 */
import { open } from 'node:fs/promises';
import { CliError, EXIT } from './exit-codes.ts';

export interface KeyPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** As the store takes them. */
export interface FileKeys extends KeyPair {
  /** The file's path. */
  readonly source: string;
  readonly inFile: true;
}

/** The one file that its group may read: administrators give it to a group of users. */
const SYSTEM_FILE = '/etc/passwd-s3fs';

/** Reads it anew at each call, so that a replaced file holds without a remount. Throws a `CliError` without secrets. */
export async function readPasswdFile(path: string, bucket: string): Promise<FileKeys> {
  let text: string;
  try {
    text = await checkedText(path);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw refusal(`${path} cannot be read: ${(error as Error).message}.`);
  }
  const keys = parsePasswd(text, path).get(bucket);
  if (!keys) throw refusal(`${path} holds no keys for bucket '${bucket}'.`);
  return { ...keys, source: path, inFile: true };
}

/**
 * A file that nobody named: undefined if there is none, it may not be read, or it has nothing for this bucket. Throws a
 * `CliError` for one that is open to others or cannot be understood.
 */
export async function findPasswdFile(path: string, bucket: string): Promise<FileKeys | undefined> {
  let text: string;
  try {
    text = await checkedText(path);
  } catch (error) {
    if (error instanceof CliError) throw error;
    return undefined;
  }
  const keys = parsePasswd(text, path).get(bucket);
  return keys && { ...keys, source: path, inFile: true };
}

async function checkedText(path: string): Promise<string> {
  const file = await open(path);
  try {
    checkMode(path, (await file.stat()).mode);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** s3fs's rules: nothing for others; nothing for the group but reading the system's file; not executable. */
function checkMode(path: string, mode: number): void {
  const groupMay = path === SYSTEM_FILE ? 0o040 : 0;
  if (mode & (0o177 & ~groupMay)) {
    const right = path === SYSTEM_FILE ? '0640' : '0600';
    throw refusal(`${path} may be read or run by more people than its owner; run: chmod ${right} ${path}.`);
  }
}

/** `path` is for messages; what stands in the file never gets into them. */
export function parsePasswd(text: string, path: string): { get(bucket: string): KeyPair | undefined } {
  const keys = new Map<string, KeyPair>();
  const named = new Map<string, string>();
  text.split('\n').forEach((raw, index) => {
    const line = raw.replace(/\r$/, '');
    const at = `${path}, line ${index + 1}`;
    if (line === '' || line.startsWith('#')) return;
    if (/[ \t]/.test(line)) throw refusal(`${at}: there must be no space or tab.`);
    if (line.startsWith('['))
      throw refusal(`${at}: this is a file of the AWS CLI; use profile= for it, and leave out passwd_file=.`);
    const assignment = /^(AWSAccessKeyId|AWSSecretKey|AWSSessionToken)=(.+)$/.exec(line);
    if (assignment) {
      named.set(assignment[1]!, assignment[2]!);
      return;
    }
    const fields = line.split(':');
    const [accessKeyId, secretAccessKey] = fields.slice(-2);
    if (fields.length < 2 || fields.length > 3 || !accessKeyId || !secretAccessKey) {
      throw refusal(`${at}: it should be KEY:SECRET or BUCKET:KEY:SECRET.`);
    }
    const owner = fields.length === 3 ? fields[0]! : '';
    if (keys.has(owner))
      throw refusal(`${at}: ${owner === '' ? 'the default keys stand' : `bucket '${owner}' stands`} there twice.`);
    keys.set(owner, { accessKeyId, secretAccessKey });
  });
  const accessKeyId = named.get('AWSAccessKeyId');
  const secretAccessKey = named.get('AWSSecretKey');
  const sessionToken = named.get('AWSSessionToken');
  const assigned =
    accessKeyId && secretAccessKey
      ? { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
      : undefined;
  return { get: bucket => keys.get(bucket) ?? keys.get('') ?? assigned };
}

function refusal(sentence: string): CliError {
  return new CliError(EXIT.credentials, `the credentials file ${sentence}`);
}
