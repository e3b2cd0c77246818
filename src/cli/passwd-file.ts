/**
 * Credentials in s3fs's file format: `KEY:SECRET`, `bucket:KEY:SECRET`, or `AWSAccessKeyId=…` and `AWSSecretKey=…`; `#`
 * begins a comment. Its permission checks are kept too: a file that others may read is refused.
 */
import { open } from 'node:fs/promises';
import { CliError, EXIT } from './exit-codes.ts';

export interface KeyPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** The one file that its group may read: administrators give it to a group of users. */
const SYSTEM_FILE = '/etc/passwd-s3fs';

/** Reads it anew at each call, so that a replaced file holds without a remount. Throws a `CliError` without secrets. */
export async function readPasswdFile(path: string, bucket: string): Promise<KeyPair> {
  let text: string;
  try {
    const file = await open(path);
    try {
      checkMode(path, (await file.stat()).mode);
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw refusal(`${path} cannot be read: ${(error as Error).message}.`);
  }
  return parsePasswd(text, path, bucket);
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
export function parsePasswd(text: string, path: string, bucket: string): KeyPair {
  const keys = new Map<string, KeyPair>();
  const named = new Map<string, string>();
  text.split('\n').forEach((raw, index) => {
    const line = raw.replace(/\r$/, '');
    const at = `${path}, line ${index + 1}`;
    if (line === '' || line.startsWith('#')) return;
    if (/[ \t]/.test(line)) throw refusal(`${at}: there must be no space or tab.`);
    if (line.startsWith('['))
      throw refusal(`${at}: this is a file of the AWS CLI; use profile= for it, and leave out passwd_file=.`);
    const assignment = /^(AWSAccessKeyId|AWSSecretKey)=(.+)$/.exec(line);
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
  const found =
    keys.get(bucket) ?? keys.get('') ?? (accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined);
  if (!found) throw refusal(`${path} holds no keys for bucket '${bucket}'.`);
  return found;
}

function refusal(sentence: string): CliError {
  return new CliError(EXIT.credentials, `the credentials file ${sentence}`);
}
