/** What the contents of files are given, and what their saves tell. */
import type { Clock } from '../concurrency.ts';
import type { ObjectDescription, ObjectStore, Written } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BlockCache } from './block-cache.ts';
import type { BlockPool } from './block-pool.ts';
import type { Budget } from './budget.ts';
import type { CloseRooms } from './close-room.ts';
import type { SaveEnvironment } from './save-requests.ts';
import type { Spool } from './spool.ts';
import type { StoredContent } from './stored-content.ts';
import type { UnsavedLog } from './unsaved-log.ts';
import type { UploadSizes } from './upload-plan.ts';

/** What all files of a mount share. */
export interface ContentEnvironment {
  readonly store: ObjectStore;
  readonly blocks: BlockCache;
  readonly budget: Budget;
  readonly pool: BlockPool;
  readonly spool: Spool;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** Default: `UPLOAD_SIZES`. */
  readonly sizes?: UploadSizes;
  /** Bytes of parts that were sent stay at hand, in memory or spooled, until the upload is completed. Default: false. */
  readonly keepSent?: boolean;
  /** Where what is written and not saved outlives the daemon. */
  readonly unsavedLog?: UnsavedLog | undefined;
  /** Without `unsavedLog`: told what a save is about to store, before it does. */
  readonly saveIntent?: SaveEnvironment['intent'];
  /** With `write_back`: where the room for closes comes from. */
  readonly closeRooms?: CloseRooms | undefined;
  /** Bytes of the largest part that is held in memory. Default: by the limit of memory. */
  readonly cellLimit?: number;
}

export interface Saved {
  readonly written: Written;
  /** What was really stored with it: of a multipart upload, what `describe` said when it began. */
  readonly description: ObjectDescription;
  /** The new base. Its version's key is the one that was written to. */
  readonly content: StoredContent;
}
