/**
 * Each way to keys, from a machine that offers it to a request that S3 accepts: files, environment, profiles, and the endpoints
 * that give out temporary keys, played on loopback.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type CredentialWords, credentialSources } from '../../src/cli/credential-sources.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import { type Log, silentTelemetry } from '../../src/telemetry.ts';
import { credentialEndpoints } from '../support/credential-endpoints.ts';
import { ManualClock } from '../support/manual-clock.ts';

const LASTING = { accessKeyId: 'LASTINGKEY', secretAccessKey: 'lasting' };
const OTHER = { accessKeyId: 'OTHERKEY', secretAccessKey: 'other' };
const GIVEN = { accessKeyId: 'GIVENKEY', secretAccessKey: 'given', sessionToken: 'given-token' };
const NEXT = { accessKeyId: 'NEXTKEY', secretAccessKey: 'next', sessionToken: 'next-token' };

interface Scene {
  readonly s3: EmbeddedS3;
  readonly home: string;
  readonly systemFile: string;
  readonly clock: ManualClock;
  /** Log lines as JSON. */
  readonly lines: string[];
  /** Writes a file below the home directory, for its owner only. */
  file(name: string, text: string, mode?: number): string;
  open(words?: CredentialWords): Promise<S3Store>;
}

/** The SDK reads the environment itself, so each scene has its own. */
async function scene(t: Test, env: Readonly<Record<string, string>> = {}): Promise<Scene> {
  const s3 = await startEmbeddedS3({ buckets: ['works'], credentials: [LASTING, OTHER, GIVEN, NEXT] });
  const home = t.testdir();
  const systemFile = join(home, 'etc-passwd-s3fs');
  const before = { ...process.env };
  for (const name of Object.keys(process.env)) if (/^AWS/.test(name)) delete process.env[name];
  Object.assign(process.env, { HOME: home, AWS_EC2_METADATA_DISABLED: 'true' }, env);
  t.teardown(async () => {
    for (const name of Object.keys(process.env)) if (!Object.hasOwn(before, name)) delete process.env[name];
    Object.assign(process.env, before);
    await s3.close();
  });
  const clock = new ManualClock(Date.now());
  const lines: string[] = [];
  const note = (fields: object, message: string): void => void lines.push(JSON.stringify({ ...fields, message }));
  const log: Log = { debug: () => {}, info: note, warn: note, error: note };
  return {
    s3,
    home,
    systemFile,
    clock,
    lines,
    file(name, text, mode = 0o600) {
      const path = join(home, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
      chmodSync(path, mode);
      return path;
    },
    async open(words = {}) {
      const store = await openS3Store({
        bucket: 'works',
        url: s3.url,
        region: 'us-east-1',
        clock,
        telemetry: { ...silentTelemetry, log },
        credentials: credentialSources(words, 'works', { env: process.env, home, systemFile }),
      });
      t.teardown(() => store.close());
      return store;
    },
  };
}

/** A request goes through, and the log says whose keys it went out with, and none of them. */
async function worksBy(t: Test, at: Scene, source: string | RegExp, words: CredentialWords = {}): Promise<S3Store> {
  const store = await at.open(words);
  await store.probe();
  t.match(store.credentialSource, source);
  t.match(
    at.lines.find(line => line.includes('"credentials"')),
    source,
    'it is in the log',
  );
  for (const { secretAccessKey } of [LASTING, OTHER, GIVEN, NEXT]) {
    t.notOk(at.lines.some(line => line.includes(`"${secretAccessKey}"`)));
  }
  return store;
}

const wereReplaced = ({ lines }: Scene): boolean =>
  lines.some(line => line.includes('"message":"credentials were replaced"'));

/** It happens beside the request that found them old. */
async function replaced(at: Scene): Promise<boolean> {
  for (let left = 400; left > 0 && !wereReplaced(at); left--) await new Promise(resolve => setTimeout(resolve, 5));
  return wereReplaced(at);
}

const keyLine = ({ accessKeyId, secretAccessKey }: { accessKeyId: string; secretAccessKey: string }): string =>
  `${accessKeyId}:${secretAccessKey}\n`;
const profile = (keys: typeof LASTING): string =>
  `aws_access_key_id = ${keys.accessKeyId}\naws_secret_access_key = ${keys.secretAccessKey}\n`;

t.test('passwd_file= goes before all, and its line for the bucket before its default', async t => {
  const at = await scene(t, { AWS_ACCESS_KEY_ID: 'WRONG', AWS_SECRET_ACCESS_KEY: 'wrong' });
  const path = at.file('mine', `other:WRONG:wrong\nworks:${keyLine(LASTING)}WRONG:wrong\n`);
  await worksBy(t, at, path, { passwd_file: path });
});

t.test('the environment, by the names of the AWS CLI and by those of s3fs', async t => {
  for (const names of [
    ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
    ['AWSACCESSKEYID', 'AWSSECRETACCESSKEY', 'AWSSESSIONTOKEN'],
  ] as const) {
    await t.test(names[0], async t => {
      const at = await scene(t, {
        [names[0]]: GIVEN.accessKeyId,
        [names[1]]: GIVEN.secretAccessKey,
        [names[2]]: GIVEN.sessionToken,
      });
      at.file('.passwd-s3fs', 'WRONG:wrong\n');
      await worksBy(t, at, `${names[0]} in the environment`);
    });
  }
  await t.test('one without the other', async t => {
    const at = await scene(t, { AWSACCESSKEYID: 'X' });
    await t.rejects(
      (await at.open()).probe(),
      /AWSACCESSKEYID is set in the environment, but AWSSECRETACCESSKEY is not/,
    );
  });
});

t.test('AWS_CREDENTIAL_FILE is in the format of s3fs, also by assignments', async t => {
  const at = await scene(t, {});
  const path = at.file('keys', `AWSAccessKeyId=${LASTING.accessKeyId}\nAWSSecretKey=${LASTING.secretAccessKey}\n`);
  process.env['AWS_CREDENTIAL_FILE'] = path;
  at.file('.aws/credentials', `[default]\n${profile({ accessKeyId: 'WRONG', secretAccessKey: 'wrong' })}`);
  await worksBy(t, at, path);
});

t.test('~/.aws/credentials goes before the files of s3fs', async t => {
  const at = await scene(t, {});
  at.file('.aws/credentials', `[default]\n${profile(LASTING)}`);
  at.file('.passwd-s3fs', 'WRONG:wrong\n');
  await worksBy(t, at, 'the profile in use in ~/.aws');
});

t.test('~/.passwd-s3fs goes before /etc/passwd-s3fs, and before a role in ~/.aws/config', async t => {
  const at = await scene(t, {});
  at.file('.aws/config', '[default]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = Environment\n');
  at.file('etc-passwd-s3fs', 'WRONG:wrong\n', 0o640);
  const path = at.file('.passwd-s3fs', keyLine(LASTING));
  await worksBy(t, at, path);
});

t.test('/etc/passwd-s3fs, where the own file speaks of other buckets only', async t => {
  const at = await scene(t, {});
  at.file('.passwd-s3fs', 'other:WRONG:wrong\n');
  at.file('etc-passwd-s3fs', keyLine(LASTING));
  await worksBy(t, at, at.systemFile);
});

t.test('a file of s3fs that others may read ends the search', async t => {
  const at = await scene(t, {});
  at.file('.passwd-s3fs', keyLine(LASTING), 0o644);
  at.file('etc-passwd-s3fs', keyLine(LASTING));
  await t.rejects((await at.open()).probe(), { kind: 'forbidden', message: /\.passwd-s3fs may be read .*chmod 0600/ });
});

t.test('profile=, and AWS_PROFILE', async t => {
  const text = `[default]\n${profile({ accessKeyId: 'WRONG', secretAccessKey: 'wrong' })}[work]\n${profile(LASTING)}`;
  await t.test('profile=', async t => {
    const at = await scene(t, {});
    at.file('.aws/credentials', text);
    await worksBy(t, at, 'profile work in ~/.aws', { profile: 'work' });
  });
  await t.test('AWS_PROFILE', async t => {
    const at = await scene(t, { AWS_PROFILE: 'work' });
    at.file('.aws/credentials', text);
    at.file('.passwd-s3fs', 'WRONG:wrong\n');
    await worksBy(t, at, 'profile work in ~/.aws');
  });
});

t.test('role_arn: STS is asked by the keys of the other profile', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, { AWS_ENDPOINT_URL_STS: fake.url });
  at.file('.aws/config', '[profile team]\nrole_arn = arn:aws:iam::123456789012:role/team\nsource_profile = me\n');
  at.file('.aws/credentials', `[me]\n${profile(LASTING)}`);
  await worksBy(t, at, 'the role that profile team names', { profile: 'team' });
  t.same(fake.asked, ['AssumeRole by LASTINGKEY of arn:aws:iam::123456789012:role/team']);
});

t.test('credential_process', async t => {
  const at = await scene(t, {});
  const { accessKeyId, secretAccessKey, sessionToken } = GIVEN;
  const json = { Version: 1, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken };
  at.file('given.json', JSON.stringify(json));
  at.file('.aws/config', `[default]\ncredential_process = cat ${join(at.home, 'given.json')}\n`);
  await worksBy(t, at, /credential_process of the profile in use/);
});

t.test('SSO: the portal is asked with the token of `aws sso login`', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, { AWS_ENDPOINT_URL_SSO: fake.url });
  const session = 'sso_region = us-east-1\nsso_start_url = https://me.awsapps.com/start\n';
  at.file(
    '.aws/config',
    `[profile me]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\n${session}`,
  );
  // The SHA-1 of the session's name.
  const token = {
    accessToken: 'sso-token',
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  };
  const tokenFile = '.aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json';
  at.file(tokenFile, JSON.stringify(token));
  await worksBy(t, at, 'the sign-in (SSO) of profile me', { profile: 'me' });
  t.same(fake.asked, ['GET /federation/credentials']);
  at.file(tokenFile, JSON.stringify({ ...token, expiresAt: '2020-01-01T00:00:00Z' }));
  await t.rejects((await at.open({ profile: 'me' })).probe(), /aws sso login/, 'an ended sign-in says what to run');
});

t.test('web identity, as in a pod of EKS', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, {
    AWS_ENDPOINT_URL_STS: fake.url,
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/pod',
    AWS_ROLE_SESSION_NAME: 'pod',
  });
  process.env['AWS_WEB_IDENTITY_TOKEN_FILE'] = at.file('token', 'web-token');
  await worksBy(t, at, 'the web identity of AWS_WEB_IDENTITY_TOKEN_FILE');
  t.same(fake.asked, ['AssumeRoleWithWebIdentity by nobody of arn:aws:iam::123456789012:role/pod']);
});

t.test('the role of a container (ECS, EKS Pod Identity)', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${fake.url}/container` });
  process.env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'] = at.file('agent', 'agent-token');
  await worksBy(t, at, 'the role of this container');
  at.file('.passwd-s3fs', 'WRONG:wrong\n');
  t.equal(
    (await worksBy(t, at, 'the role of this container', { ecs: true })).credentialSource,
    'the role of this container',
  );
});

t.test('the role of an instance (IMDSv2), whose service may be slow at boot', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, { AWS_EC2_METADATA_SERVICE_ENDPOINT: fake.url });
  delete process.env['AWS_EC2_METADATA_DISABLED'];
  await worksBy(t, at, 'the role of this instance');
  t.equal(fake.asked[0], 'PUT /latest/api/token');
  at.file('.passwd-s3fs', 'WRONG:wrong\n');
  fake.silent = 1;
  await worksBy(t, at, 'the role of this instance', { iam_role: 'auto' });
});

t.test('temporary keys are replaced before they expire, without a remount', async t => {
  const fake = await credentialEndpoints(t, GIVEN);
  const at = await scene(t, { AWS_EC2_METADATA_SERVICE_ENDPOINT: fake.url });
  delete process.env['AWS_EC2_METADATA_DISABLED'];
  const store = await worksBy(t, at, 'the role of this instance');
  const asked = fake.asked.length;
  fake.keys = NEXT;
  fake.lifetime = 3 * 3_600_000;
  await store.probe();
  t.equal(fake.asked.length, asked, 'keys that hold are kept');
  await at.clock.advance(56 * 60_000);
  // The old ones hold for four minutes more: the request that finds them near their end does not wait.
  void store.probe().catch(() => {});
  t.ok(await replaced(at));
  await at.clock.advance(60_000);
  t.match(fake.asked.slice(asked), ['PUT /latest/api/token']);
});

t.test('a file that was replaced holds within half a minute, also while its old keys still work', async t => {
  const at = await scene(t, {});
  const path = at.file('.passwd-s3fs', keyLine(LASTING));
  const store = await worksBy(t, at, path);
  at.file('.passwd-s3fs', keyLine(OTHER));
  await store.probe();
  t.notOk(wereReplaced(at), 'not read for each request');
  await at.clock.advance(31_000);
  await store.probe();
  t.ok(await replaced(at));
  at.file('.passwd-s3fs', 'half a li');
  await at.clock.advance(31_000);
  await store.probe();
  t.pass('a file that is just being written does no harm');
});

t.test('no keys anywhere: the sentence says where they may stand', async t => {
  const at = await scene(t, {});
  await t.rejects((await at.open()).probe(), { kind: 'forbidden', message: /no AWS credentials .*~\/\.passwd-s3fs/ });
});
