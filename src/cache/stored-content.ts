/**
 * Bytes that never change, and the object version that holds them now.
 *
 * A rename, a chmod or a copy by ourselves gives the same bytes a new key or ETag: the content stays, its `version` moves
 * on to the successor. So blocks are cached by content, not by key, and a reader that meets 404 or 412 looks whether the
 * version has moved since it asked, and asks again.
 */
import type { ObjectVersion } from '../s3/store.ts';

/** Bytes of a block, the unit of caching. Larger ones lose random reads: a 4 KiB read fetches one block. */
export const BLOCK_SIZE = 128 * 1024;

let nextBlock = 0;
let spoiled = 0;

/** How often wrong bytes were found so far, in whatever content: what was opened before a finding may have read them. */
export function findingsOfWrongBytes(): number {
  return spoiled;
}

/** A file with nothing but a reference to bytes that another object holds, until its own save. */
export interface Borrower {
  /** The object is about to change or go: resolves when its bytes are no longer needed. */
  makeIndependent(): Promise<void>;
}

export class StoredContent {
  /** Blocks of this content are numbered `firstBlock` … on; no other content has these numbers. */
  readonly firstBlock: number;
  /** In bytes. */
  readonly size: number;
  /** Where the bytes are to be had now. */
  version: ObjectVersion;
  /** Files that refer to it. */
  readonly borrowers = new Set<Borrower>();
  /** Which of the findings of wrong bytes was made of it; 0 for none. */
  spoiledAt = 0;
  /** Its object is being replaced or deleted: nobody may begin to refer to it. */
  leaving = 0;
  #moving: Promise<unknown> | undefined;

  constructor(version: ObjectVersion) {
    this.version = version;
    this.size = version.size;
    this.firstBlock = nextBlock;
    // 2^53 block numbers of 128 KiB last for 10^21 bytes of content: they are never reused.
    nextBlock += this.blockCount;
  }

  /**
   * Runs `copy`, which gives the same bytes another ETag (with KMS each object has its own) and then sets `version`. One at a
   * time. Who is told meanwhile that the version is gone waits for it (`moved`), and looks at `version` again.
   */
  async move<T>(copy: () => Promise<T>): Promise<T> {
    const moving = copy();
    this.#moving = moving;
    try {
      return await moving;
    } finally {
      this.#moving = undefined;
    }
  }

  /** Resolves when no copy of ours that moves it is under way. */
  async moved(): Promise<void> {
    await this.#moving?.catch(() => {});
  }

  /** Wrong bytes have come of it. */
  spoil(): void {
    this.spoiledAt = ++spoiled;
  }

  /** Runs `change`, after which the object may no longer have these bytes, when nobody refers to it. */
  async leave<T>(change: () => Promise<T>): Promise<T> {
    this.leaving++;
    try {
      while (this.borrowers.size > 0) {
        await Promise.all([...this.borrowers].map(borrower => borrower.makeIndependent()));
      }
      return await change();
    } finally {
      this.leaving--;
    }
  }

  get blockCount(): number {
    return Math.ceil(this.size / BLOCK_SIZE);
  }

  /** Bytes in block `index` of this content: a whole block but for the last. */
  blockLength(index: number): number {
    return Math.min(BLOCK_SIZE, this.size - index * BLOCK_SIZE);
  }
}
