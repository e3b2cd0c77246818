/**
 * AWS takes a Spot instance back with two minutes' notice, its disks included: a journal ends with them. So on such an
 * instance its metadata service is asked every 5 s, as AWS advises, and what is unsaved is sent at once when it speaks.
 *
 * 1. A rebalance recommendation names no time, and the instance may live on for days: saved once.
 * 2. An interruption names one: from then on whatever is written is saved every few seconds, until the end.
 * 3. An instance that is no Spot instance is asked once and never again.
 */
import { readFileSync } from 'node:fs';
import type { Log } from '../telemetry.ts';

/** What `s3mount status` shows. Times as AWS gives them (ISO 8601). */
export interface SpotNotice {
  readonly kind: 'interruption' | 'rebalance';
  /** `terminate`, `stop` or `hibernate`; for an interruption. */
  readonly action?: string;
  /** When it happens, or for a rebalance recommendation when it was made. */
  readonly time: string;
  /** All that was unsaved when it came is in S3. */
  readonly saved: boolean;
}

export interface SpotWatchParts {
  /** A path below `/latest/meta-data/`; rejects or is undefined where nobody answers. */
  readonly ask: (path: string) => Promise<{ readonly status: number; readonly text: string } | undefined>;
  /** Saves all that is unsaved; true if nothing is left. */
  readonly save: () => Promise<boolean>;
  readonly unsaved: () => { readonly bytes: number; readonly files: number };
  readonly log: Log;
  /** For the service manager. */
  readonly status: (text: string) => void;
  /** Resolves after `ms`. */
  readonly pause: (ms: number) => Promise<void>;
}

/** ms between two questions: what AWS advises, of 120,000 that are left. */
const ASK_EVERY = 5_000;
/** A service that does not answer at the start, as through one hop too many from a container, is given up. */
const MOST_SILENT = 3;

export class SpotWatch {
  readonly #parts: SpotWatchParts;
  #notice: SpotNotice | undefined;
  #stopped = false;

  constructor(parts: SpotWatchParts) {
    this.#parts = parts;
  }

  get notice(): SpotNotice | undefined {
    return this.#notice;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Resolves when there is nothing to watch any more: at once on an instance that is no Spot instance. Never rejects. */
  async run(): Promise<void> {
    const { pause, log } = this.#parts;
    if (!(await this.#isSpot())) return;
    log.info({}, 'a Spot instance: its interruption is watched for');
    while (!this.#stopped) {
      await this.#look();
      await pause(ASK_EVERY);
    }
  }

  async #isSpot(): Promise<boolean> {
    for (let silent = 0; silent < MOST_SILENT && !this.#stopped; silent++) {
      const answer = await this.#ask('instance-life-cycle');
      if (answer !== undefined) return answer.status === 200 && answer.text === 'spot';
      await this.#parts.pause(ASK_EVERY);
    }
    return false;
  }

  async #look(): Promise<void> {
    const action = await this.#json('spot/instance-action');
    const { action: what, time } = action ?? {};
    if (what !== undefined && time !== undefined) {
      await this.#answer(
        { kind: 'interruption', action: what, time, saved: false },
        `AWS will ${what} this instance at ${time}`,
      );
      return;
    }
    if (this.#notice !== undefined) return;
    const { noticeTime } = (await this.#json('events/recommendations/rebalance')) ?? {};
    if (noticeTime === undefined) return;
    await this.#answer(
      { kind: 'rebalance', time: noticeTime, saved: false },
      `AWS may soon take this instance (rebalance recommendation of ${noticeTime})`,
    );
  }

  async #answer(notice: SpotNotice, sentence: string): Promise<void> {
    const { log, status, save, unsaved } = this.#parts;
    const isNew = this.#notice?.kind !== notice.kind || this.#notice.time !== notice.time;
    const { bytes, files } = unsaved();
    if (isNew) {
      this.#notice = notice;
      log.warn({ ...notice, bytes, files }, `${sentence}; what is unsaved is sent to S3 now`);
    } else if (files === 0) return;
    status(`${sentence}; saving ${bytes} bytes in ${files} ${files === 1 ? 'file' : 'files'}`);
    const saved = await save().catch((error: unknown) => {
      log.error({ err: error }, 'saving before the end of the instance failed');
      return false;
    });
    this.#notice = { ...notice, saved };
    if (saved && isNew) log.info({}, 'all that was unsaved is in S3');
    status(`${sentence}; ${saved ? 'all is saved' : 'NOT all is saved'}`);
  }

  async #json(path: string): Promise<Readonly<Record<string, string | undefined>> | undefined> {
    const answer = await this.#ask(path);
    // 404 is the usual case: nothing is planned.
    if (answer?.status !== 200) return undefined;
    try {
      const fields: unknown = JSON.parse(answer.text);
      if (typeof fields !== 'object' || fields === null) return undefined;
      return Object.fromEntries(Object.entries(fields).filter(([, value]) => typeof value === 'string'));
    } catch {
      return undefined;
    }
  }

  async #ask(path: string): Promise<{ readonly status: number; readonly text: string } | undefined> {
    try {
      return await this.#parts.ask(path);
    } catch {
      return undefined;
    }
  }
}

/** Files of the kernel that name the machine's maker, and how they begin on EC2: Nitro and Xen. */
const MARKS: readonly (readonly [string, RegExp])[] = [
  ['/sys/devices/virtual/dmi/id/sys_vendor', /^Amazon EC2/],
  ['/sys/hypervisor/uuid', /^ec2/i],
];

/** Whether this machine is an EC2 instance, by what the kernel says of it: no request leaves elsewhere. */
export function isOnEc2(read: (path: string) => string = path => readFileSync(path, 'latin1')): boolean {
  return MARKS.some(([path, mark]) => {
    try {
      return mark.test(read(path));
    } catch {
      return false;
    }
  });
}
