/** Sessions with directory buckets: keys that hold for some minutes, in the place of those of the account. */
import { randomBytes } from 'node:crypto';
import type { Credential } from './signature.ts';

/** ms: CreateSession, Amazon S3 API Reference. */
const SESSION_MS = 5 * 60_000;

/** Keys that a session gave, and until when they hold (ms since the epoch). */
export interface Session extends Credential {
  readonly until: number;
  readonly readOnly: boolean;
  readonly bucket: string;
}

export class Sessions {
  readonly #known = new Map<string, Session>();

  begin(bucket: string, readOnly: boolean, now: number): Session {
    const session: Session = {
      accessKeyId: `SESSION${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(20).toString('base64'),
      sessionToken: randomBytes(64).toString('base64'),
      tokenHeader: 'x-amz-s3session-token',
      until: now + SESSION_MS,
      readOnly,
      bucket,
    };
    this.#known.set(session.accessKeyId, session);
    return session;
  }

  get(accessKeyId: string): Session | undefined {
    return this.#known.get(accessKeyId);
  }
}
