/**
 * Access keys, fresh whenever they are needed: replaced before they expire, read again where their file may have changed, and
 * looked for anew when S3 refuses them. Where they come from is the provider's business (`sdk-credentials.ts`).
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
/** Keys in a file are read again so often while requests go out: a rotation holds within half a minute, at one small read. */
const REREAD_MS = 30_000;

/** Sentences of ours name a path and a command, those of the SDK what to run. */
const REASON_LENGTH = 500;

/** Keys that are had for some minutes at a time, by a request of ours. */
export interface SessionRules {
  /** ms before their end that they are replaced. */
  readonly refreshBefore: number;
}

export class CredentialCache {
  readonly #provider: CredentialProvider | undefined;
  readonly #clock: Clock;
  readonly #telemetry: Telemetry;
  #known: Credentials | undefined;
  #pending: Promise<Credentials> | undefined;
  #triedAt = Number.NEGATIVE_INFINITY;
  #complained: string | undefined;
  #refusedAt = Number.NEGATIVE_INFINITY;

  readonly #session: SessionRules | undefined;

  /** Without a provider requests go out unsigned. With `session` the keys are those of a session had by others. */
  constructor(provider: CredentialProvider | undefined, clock: Clock, telemetry: Telemetry, session?: SessionRules) {
    this.#session = session;
    this.#provider = provider;
    this.#clock = clock;
    this.#telemetry = telemetry;
  }

  /** Requests go out unsigned. */
  get anonymous(): boolean {
    return this.#provider === undefined;
  }

  /** Where the keys came from, in words for people; undefined until there are some. */
  get source(): string | undefined {
    return this.#known?.source;
  }

  /** Who asks, as one text: the key's name, or where keys come from that are replaced every hour; undefined for nobody. */
  get identity(): string | undefined {
    const known = this.#known;
    return known?.sessionToken === undefined ? known?.accessKeyId : known.source;
  }

  /** The keys to sign with, at once if they are at hand; undefined for anonymous access. Throws `StoreError` ('forbidden'). */
  current(): Credentials | undefined | Promise<Credentials> {
    if (!this.#provider) return undefined;
    const known = this.#known;
    if (!known) return this.#load();
    const { expiration } = known;
    if (expiration === undefined) {
      if (known.inFile && this.#clock.monotonic() - this.#triedAt >= REREAD_MS) this.#load().catch(() => {});
      return known;
    }
    const left = expiration - this.#clock.now();
    if (left > (this.#session?.refreshBefore ?? REFRESH_BEFORE_MS)) return known;
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
        fresh => this.#take(fresh),
        (error: unknown) => {
          const reason = printable(error instanceof Error ? error.message : String(error), REASON_LENGTH);
          // A file that stays wrong is looked at every half minute: once said is enough.
          if (this.#complained !== reason) this.#telemetry.log.warn({ reason }, 'credentials could not be loaded');
          this.#complained = reason;
          // The instance's metadata service may be away for a moment: keys that hold are used on.
          const known = this.#known;
          if (known && (known.expiration ?? Number.POSITIVE_INFINITY) > this.#clock.now()) return known;
          // The request that was refused says it all.
          if (this.#session) throw error;
          throw new StoreError(
            'forbidden',
            `no AWS credentials (${reason}); put them into the environment, ~/.aws/credentials or ~/.passwd-s3fs, give the instance a role, or mount with public_bucket=1 to use none`,
            { cause: error },
          );
        },
      )
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }

  #take(fresh: Credentials): Credentials {
    this.#complained = undefined;
    const known = this.#known;
    // What is signed already goes by the object: the same keys stay the same object.
    if (same(known, fresh) && known?.expiration === fresh.expiration) return known!;
    this.#known = fresh;
    const { source, expiration } = fresh;
    const replaced = known !== undefined && !same(known, fresh);
    const everyday = this.#session !== undefined || (known?.source === source && !replaced);
    this.#telemetry.log[everyday ? 'debug' : 'info'](
      {
        source: source ?? 'a provider of its own',
        ...(expiration === undefined ? {} : { until: new Date(expiration).toISOString() }),
      },
      known === undefined ? 'credentials' : 'credentials were replaced',
    );
    return fresh;
  }
}

function same(a: Credentials | undefined, b: Credentials): boolean {
  return (
    a?.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken
  );
}
