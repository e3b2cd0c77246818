/**
 * What CopyObject drops although it is told to keep all: storage class, encryption and website redirect fall back to the
 * bucket's defaults unless they are stated. So they must be known of each source; most sources were seen a moment ago.
 */
import type { HeaderList } from './object-headers.ts';
import { describingHeaders } from './object-headers.ts';
import type { ObjectDescription, ObjectVersion } from './store.ts';

/** Versions remembered. A directory that is renamed was looked at file by file before, or costs one HEAD a file. */
const MAX_KNOWN = 4096;

const NOTHING: HeaderList = [];

export class KeptAttributes {
  readonly #known = new Map<string, { readonly etag: string; readonly headers: HeaderList }>();

  /** Notes what `description` says of a version that was read or written. */
  remember(key: string, etag: string, description: ObjectDescription): void {
    this.#known.delete(key);
    if (this.#known.size >= MAX_KNOWN) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.set(key, { etag, headers: attributesToRestate(description) });
  }

  /** The headers that keep the attributes of `version` in a copy; undefined if they are not known. */
  of(version: ObjectVersion): HeaderList | undefined {
    const known = this.#known.get(version.key);
    return known?.etag === version.etag ? known.headers : undefined;
  }
}

export function attributesToRestate(description: ObjectDescription): HeaderList {
  const { storageClass, encryption, headers } = description;
  const redirect = headers.websiteRedirectLocation;
  const standard = storageClass === undefined || storageClass === 'STANDARD';
  if (standard && !encryption && redirect === undefined) return NOTHING;
  return describingHeaders(
    {
      headers: redirect === undefined ? {} : { websiteRedirectLocation: redirect },
      metadata: {},
      ...(standard ? {} : { storageClass }),
      ...(encryption ? { encryption } : {}),
    },
    {},
  );
}
