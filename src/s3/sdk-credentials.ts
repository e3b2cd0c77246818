/**
 * Access keys by the AWS SDK: environment, profiles, roles by STS, processes, SSO, web identity, container and instance.
 *
 * Its calls to STS and SSO go through our own transport, so that proxy, certificates and time-outs hold for them too. The
 * metadata services of instance and container are asked straight: a proxy must never see, nor could it reach, them.
 */
import { originOf } from './endpoint.ts';
import type { HttpTransport } from './http-transport.ts';
import { bodyOf, queryOf, responseOf, type SdkRequest } from './sdk-messages.ts';
import type { Credentials } from './sigv4.ts';

/** Asks the SDK once. */
export type SdkCredentials = (options: SdkCredentialOptions) => Promise<Credentials>;

export interface SdkCredentialOptions {
  /** Section of ~/.aws/config and ~/.aws/credentials; default: AWS_PROFILE, or `default`. */
  readonly profile?: string | undefined;
  /** Ask only the instance, or only the container, as s3fs's `iam_role` and `ecs` do. Default: the whole chain. */
  readonly only?: 'instance' | 'container' | undefined;
}

/** ms for one answer of the metadata service: it is a hop away. The SDK's own default, which times out for nobody. */
const METADATA_TIMEOUT_MS = 1_000;
/** Lost packets and a service that is just starting, at boot. More would make a machine that has none wait. */
const METADATA_RETRIES = 2;

const quiet = { debug() {}, info() {}, warn() {}, error() {}, trace() {} };

/** The SDK's code is loaded on first use (some 40 ms). `transport` carries the calls to STS and SSO. */
export function sdkCredentials(transport: HttpTransport): SdkCredentials {
  return async ({ profile, only }) => {
    const sdk = await import('./sdk-chain.ts');
    const metadata = { timeout: METADATA_TIMEOUT_MS, maxRetries: METADATA_RETRIES, logger: quiet };
    const provider =
      only === 'instance'
        ? sdk.fromInstanceMetadata(metadata)
        : only === 'container'
          ? containerProvider(sdk, metadata)
          : // A chain made anew reads the files again: keys that were replaced there hold without a remount.
            sdk.defaultProvider({
              ...metadata,
              ...(profile === undefined ? {} : { profile }),
              ignoreCache: true,
              clientConfig: { requestHandler: sdkHandler(transport) },
            });
    return credentialsOf(await askedAgain(provider), profile, only);
  };
}

/**
 * A token request that was lost makes the SDK ask in the old way, without a token, which instances of today refuse: it is an
 * answer of the service, so it is there, and asking once more from the start may do.
 */
async function askedAgain<T>(provider: () => Promise<T>): Promise<T> {
  try {
    return await provider();
  } catch (error) {
    if (!(error instanceof Error && /^Error response received from instance metadata/.test(error.message))) throw error;
    return await provider();
  }
}

type Chain = typeof import('./sdk-chain.ts');

function containerProvider(sdk: Chain, metadata: { timeout: number; maxRetries: number }) {
  return async () => {
    try {
      return await sdk.fromHttp({ ...metadata, logger: quiet })();
    } catch (error) {
      // Old agents give a relative address only, which this one knows.
      return await sdk
        .fromContainerMetadata(metadata)()
        .catch(() => {
          throw error;
        });
    }
  };
}

interface Found {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  readonly expiration?: Date | undefined;
  /** The SDK's own marks, for its user agent: by what means they were found. */
  readonly $source?: Readonly<Record<string, string>>;
}

function credentialsOf(found: Found, profile: string | undefined, only: SdkCredentialOptions['only']): Credentials {
  const { accessKeyId, secretAccessKey, sessionToken, expiration, $source = {} } = found;
  const has = (mark: string): boolean => Object.hasOwn($source, mark);
  return {
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
    ...(expiration === undefined ? {} : { expiration: expiration.getTime() }),
    source: sourceOf(has, profile, only),
    ...(has('CREDENTIALS_PROFILE') && !has('CREDENTIALS_STS_ASSUME_ROLE') ? { inFile: true } : {}),
  };
}

function sourceOf(
  has: (mark: string) => boolean,
  profile: string | undefined,
  only: SdkCredentialOptions['only'],
): string {
  const section = profile === undefined ? 'the profile in use' : `profile ${profile}`;
  if (only === 'instance') return 'the role of this instance';
  if (only === 'container') return 'the role of this container';
  if (has('CREDENTIALS_PROFILE_STS_WEB_ID_TOKEN')) return `the web identity of ${section}`;
  if (has('CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN')) return 'the web identity of AWS_WEB_IDENTITY_TOKEN_FILE';
  if (has('CREDENTIALS_STS_ASSUME_ROLE')) return `the role that ${section} names`;
  if (has('CREDENTIALS_SSO') || has('CREDENTIALS_SSO_LEGACY')) return `the sign-in (SSO) of ${section}`;
  if (has('CREDENTIALS_LOGIN')) return `the sign-in (aws login) of ${section}`;
  if (has('CREDENTIALS_PROCESS') || has('CREDENTIALS_PROFILE_PROCESS')) return `the credential_process of ${section}`;
  if (has('CREDENTIALS_PROFILE')) return `${section} in ~/.aws`;
  if (has('CREDENTIALS_ENV_VARS')) return 'AWS_ACCESS_KEY_ID in the environment';
  if (has('CREDENTIALS_HTTP')) return 'the role of this container';
  return 'the role of this instance';
}

/** The SDK's way of sending, by our transport. */
export function sdkHandler(transport: HttpTransport): never {
  const handler = {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request: SdkRequest, { abortSignal }: { abortSignal?: AbortSignal } = {}) {
      const secure = request.protocol !== 'http:';
      const origin = originOf(secure, request.hostname, request.port ?? (secure ? 443 : 80));
      let lines = '';
      for (const [name, value] of Object.entries(request.headers)) lines += `${name}: ${value}\r\n`;
      const body = bodyOf(request.body);
      const answer = await transport.request({
        origin,
        method: request.method,
        head: `${request.method} ${request.path}${queryOf(request.query)} HTTP/1.1\r\n${lines}\r\n`,
        signal: abortSignal,
        ...(body ? { body: [body] } : {}),
      });
      return { response: responseOf(answer) };
    },
    destroy() {},
    httpHandlerConfigs: () => ({}),
    updateHttpClientConfig() {},
  };
  // Each client of the SDK declares the type of its handler anew; what is called are these four.
  return handler as never;
}
