/**
 * Where keys are looked for, in s3fs's order and then the AWS SDK's: `passwd_file`, the environment, AWS_CREDENTIAL_FILE, the keys
 * of ~/.aws/credentials, ~/.passwd-s3fs, /etc/passwd-s3fs; then profiles with roles, processes and sign-ins, web identity, and
 * the roles of container and instance.
 *
 * What a person named (`passwd_file`, `profile`, `iam_role`, `ecs`, AWS_PROFILE) is the only place that is asked: keys of somebody
 * else must not be used in the place of those that were meant. A file of s3fs that exists but is open to others ends the
 * search, as it does in s3fs: its owner believes that it is in use.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { SdkCredentials } from '../s3/sdk-credentials.ts';
import type { Credentials } from '../s3/sigv4.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { OptionValues } from './option-table.ts';
import { findPasswdFile, readPasswdFile } from './passwd-file.ts';

export interface CredentialSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The home directory of who mounts. */
  readonly home: string;
  /** `/etc/passwd-s3fs`, but for tests. */
  readonly systemFile?: string;
}

export type CredentialWords = Pick<OptionValues, 'passwd_file' | 'profile' | 'iam_role' | 'ecs'>;

/** Looks anew at each call: what was replaced holds without a remount. */
export function credentialSources(
  words: CredentialWords,
  bucket: string,
  surroundings: CredentialSurroundings = { env: process.env, home: homedir() },
): (sdk: SdkCredentials) => Promise<Credentials> {
  const { env, home, systemFile = '/etc/passwd-s3fs' } = surroundings;
  const { passwd_file: named, profile } = words;
  if (named !== undefined) return () => readPasswdFile(named, bucket);
  if (words.ecs) return sdk => sdk({ only: 'container' });
  if (words.iam_role !== undefined) return sdk => sdk({ only: 'instance' });
  if (profile !== undefined) return sdk => sdk({ profile });
  const ownFile = join(home, '.passwd-s3fs');
  return async sdk => {
    const fromEnvironment = environmentKeys(env);
    if (fromEnvironment) return fromEnvironment;
    if (env['AWS_PROFILE']) return await sdk({ profile: env['AWS_PROFILE'] });
    const byVariable = env['AWS_CREDENTIAL_FILE'];
    if (byVariable) return await readPasswdFile(byVariable, bucket);
    // ~/.aws comes before s3fs's files where it holds keys themselves; a role or a sign-in in it comes after them.
    const { profileHasKeys } = await import('../s3/shared-config.ts');
    if (!(await profileHasKeys('default'))) {
      for (const path of [ownFile, systemFile]) {
        const found = await findPasswdFile(path, bucket);
        if (found) return found;
      }
    }
    return await sdk({});
  };
}

/** The names of the AWS CLI and those of old programs, which s3fs reads too. */
function environmentKeys(env: CredentialSurroundings['env']): Credentials | undefined {
  const families = [
    ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
    ['AWSACCESSKEYID', 'AWSSECRETACCESSKEY', 'AWSSESSIONTOKEN'],
  ] as const;
  for (const [id, secret, token] of families) {
    const accessKeyId = env[id];
    const secretAccessKey = env[secret];
    const sessionToken = env[token];
    if (!accessKeyId && !secretAccessKey) continue;
    if (!accessKeyId || !secretAccessKey) {
      throw new CliError(
        EXIT.credentials,
        `${accessKeyId ? id : secret} is set in the environment, but ${accessKeyId ? secret : id} is not: set both or neither.`,
      );
    }
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken ? { sessionToken } : {}),
      source: `${id} in the environment`,
    };
  }
  return undefined;
}
