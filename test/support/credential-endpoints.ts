/**
 * What gives out temporary keys on AWS, on loopback: the instance's metadata service (version 2), STS, the container's agent
 * and the portal of SSO. One server plays all and notes what it was asked.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface GivenKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

const IMDS_TOKEN = 'imds-token';
const ROLES = '/latest/meta-data/iam/security-credentials/';

export class CredentialEndpoints {
  readonly url: string;
  /** In the order in which it came: `PUT /latest/api/token`, `AssumeRole KEY arn:…`. */
  readonly asked: string[] = [];
  /** What is given out from now on. */
  keys: GivenKeys;
  /** ms that they hold. */
  lifetime = 3_600_000;
  /** So many requests get no answer. */
  silent = 0;
  /** What `placement/region` says. */
  region = 'ap-northeast-2';
  /** What else the instance is told, below `/latest/meta-data/`. */
  readonly told = new Map<string, string>();
  /** So many tokens are too old when they come. */
  refuseTokens = 0;
  /** What the container's agent demands. */
  authorization = 'agent-token';

  constructor(server: Server, keys: GivenKeys) {
    this.keys = keys;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => void this.#answer(request, response));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const bytes of request.setEncoding('utf8')) body += bytes;
    const url = new URL(request.url ?? '/', this.url);
    const form = new URLSearchParams(body);
    const action = form.get('Action');
    const signer = /Credential=([^/]+)\//.exec(request.headers.authorization ?? '')?.[1] ?? 'nobody';
    this.asked.push(action ? `${action} by ${signer} of ${form.get('RoleArn')}` : `${request.method} ${url.pathname}`);
    if (this.silent > 0) {
      this.silent--;
      return;
    }
    const answer = action ? this.#sts(action, form) : this.#metadata(request, url);
    response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' });
    response.end(answer.text);
  }

  get #expires(): string {
    return new Date(Date.now() + this.lifetime).toISOString();
  }

  #sts(action: string, form: URLSearchParams): { status: number; type: string; text: string } {
    const { accessKeyId, secretAccessKey, sessionToken } = this.keys;
    if (action === 'AssumeRoleWithWebIdentity' && form.get('WebIdentityToken') !== 'web-token') {
      return {
        status: 400,
        type: 'text/xml',
        text: '<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>',
      };
    }
    const text = `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>
      <AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey>
      <SessionToken>${sessionToken}</SessionToken><Expiration>${this.#expires}</Expiration></Credentials>
      </${action}Result></${action}Response>`;
    return { status: 200, type: 'text/xml', text };
  }

  #metadata(request: IncomingMessage, { pathname }: URL): { status: number; text: string; type?: string } {
    const { accessKeyId, secretAccessKey, sessionToken } = this.keys;
    const given = { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken };
    if (pathname === '/container') {
      if (request.headers.authorization !== this.authorization) return { status: 401, text: '{}' };
      return { status: 200, text: JSON.stringify({ ...given, Expiration: this.#expires }) };
    }
    if (pathname === '/federation/credentials') {
      if (request.headers['x-amz-sso_bearer_token'] !== 'sso-token') return { status: 401, text: '{}' };
      const roleCredentials = { accessKeyId, secretAccessKey, sessionToken, expiration: Date.now() + this.lifetime };
      return { status: 200, text: JSON.stringify({ roleCredentials }) };
    }
    if (pathname === '/latest/api/token') {
      if (request.method !== 'PUT') return { status: 405, text: '' };
      return { status: 200, text: IMDS_TOKEN, type: 'text/plain' };
    }
    // Version 2 only, as new instances have it.
    if (request.headers['x-aws-ec2-metadata-token'] !== IMDS_TOKEN || this.refuseTokens-- > 0) {
      return { status: 401, text: '' };
    }
    if (pathname === '/latest/meta-data/placement/region')
      return { status: 200, text: this.region, type: 'text/plain' };
    const told = this.told.get(pathname.replace('/latest/meta-data/', ''));
    if (told !== undefined) return { status: 200, text: told, type: 'text/plain' };
    if (pathname === ROLES) return { status: 200, text: 'box-role', type: 'text/plain' };
    if (pathname === `${ROLES}box-role`) {
      const fields = { Code: 'Success', Type: 'AWS-HMAC', Expiration: this.#expires };
      return { status: 200, text: JSON.stringify({ ...fields, ...given }) };
    }
    return { status: 404, text: '' };
  }
}

export async function credentialEndpoints(t: Test, keys: GivenKeys): Promise<CredentialEndpoints> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  });
  return new CredentialEndpoints(server, keys);
}
