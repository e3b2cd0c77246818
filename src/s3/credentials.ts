/**
 * Access keys, fresh whenever they are needed. Where they come from is the AWS SDK's own chain (environment, profiles,
 * processes, SSO, web identity, container and instance roles), or whatever provider the store is given.
 */
import type { Clock } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { printable } from './error-kinds.ts';
import type { Credentials } from './sigv4.ts';

/** Gets keys anew each time it is called: no memory of its own. */
export type CredentialProvider = () => Promise<Credentials>;

/** Keys are replaced so long before they expire, as the SDK does it, while the old ones still work. */
const REFRESH_BEFORE_MS = 5 * 60_000;
/** A refresh is not tried again sooner than this; nor are keys that S3 keeps refusing looked up again. */
const REFRESH_PAUSE_MS = 5_000;

/** The SDK's chain, loaded on first use (some 40 ms). `profile`: a section of ~/.aws/config. */
export function sdkCredentials(profile?: string): CredentialProvider {
  return async () => {
    const { defaultProvider } = await import('./sdk-chain.ts');
    // A chain made anew reads the files again: keys that were replaced there hold without a remount.
    const chain = defaultProvider({ ...(profile === undefined ? {} : { profile }), ignoreCache: true });
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = await chain();
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      ...(expiration === undefined ? {} : { expiration: expiration.getTime() }),
    };
  };
}

export class CredentialCache {
  readonly #provider: CredentialProvider | undefined;
  readonly #clock: Clock;
  readonly #telemetry: Telemetry;
  #known: Credentials | undefined;
  #pending: Promise<Credentials> | undefined;
  #triedAt = Number.NEGATIVE_INFINITY;
  #refusedAt = Number.NEGATIVE_INFINITY;

  /** Without a provider requests go out unsigned. */
  constructor(provider: CredentialProvider | undefined, clock: Clock, telemetry: Telemetry) {
    this.#provider = provider;
    this.#clock = clock;
    this.#telemetry = telemetry;
  }

  /** Requests go out unsigned. */
  get anonymous(): boolean {
    return this.#provider === undefined;
  }

  /** The keys to sign with, at once if they are at hand; undefined for anonymous access. Throws `StoreError` ('forbidden'). */
  current(): Credentials | undefined | Promise<Credentials> {
    if (!this.#provider) return undefined;
    const known = this.#known;
    if (!known) return this.#load();
    const { expiration } = known;
    if (expiration === undefined) return known;
    const left = expiration - this.#clock.now();
    if (left > REFRESH_BEFORE_MS) return known;
    if (left <= 0) return this.#load();
    if (this.#clock.monotonic() - this.#triedAt >= REFRESH_PAUSE_MS) this.#load().catch(() => {});
    return known;
  }

  /** S3 refused `used`: gets keys anew; true if they are others by now. */
  async replaced(used: Credentials | undefined): Promise<boolean> {
    if (!this.#provider || !used) return false;
    if (!same(this.#known, used)) return true;
    if (!this.#pending) {
      const now = this.#clock.monotonic();
      if (now - this.#refusedAt < REFRESH_PAUSE_MS) return false;
      this.#refusedAt = now;
    }
    try {
      return !same(await this.#load(), used);
    } catch {
      return false;
    }
  }

  #load(): Promise<Credentials> {
    this.#triedAt = this.#clock.monotonic();
    this.#pending ??= this.#provider!()
      .then(
        fresh => {
          this.#known = fresh;
          return fresh;
        },
        (error: unknown) => {
          const reason = printable(error instanceof Error ? error.message : String(error));
          this.#telemetry.log.warn({ reason }, 'credentials could not be loaded');
          // The instance's metadata service may be away for a moment: keys that hold are used on.
          const known = this.#known;
          if (known && (known.expiration ?? Number.POSITIVE_INFINITY) > this.#clock.now()) return known;
          throw new StoreError(
            'forbidden',
            `no AWS credentials (${reason}); set them in the environment, in ~/.aws/credentials or by an instance role, or mount without`,
            { cause: error },
          );
        },
      )
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }
}

function same(a: Credentials | undefined, b: Credentials): boolean {
  return (
    a?.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken
  );
}
