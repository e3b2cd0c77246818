/** Plays what the random tests have found: each as small as it shrank, and it must not come back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { MIB } from '../support/file-contents.ts';
import type { Setting } from './world.ts';

export type Found<T> = readonly [name: string, steps: readonly T[], setting?: Partial<Setting>];

export const RDWR_CREAT = 0o102;
export const WRONLY_CREAT_TRUNC = 0o1101;

export function playAgain<T>(
  found: readonly Found<T>[],
  run: (setting: Setting, steps: readonly T[]) => Promise<unknown>,
): void {
  const spool = mkdtempSync(join(tmpdir(), 's3mount-model-'));
  t.teardown(() => rmSync(spool, { recursive: true, force: true }));
  const usual: Setting = {
    remembers: false,
    ttl: 10_000,
    openCheck: 1000,
    metadata: 's3fs',
    link: 'refuse',
    budget: 3 * MIB,
    spool,
  };
  for (const [name, steps, setting] of found) {
    t.test(name, async t => {
      await run({ ...usual, ...setting }, steps);
      t.pass('no difference');
    });
  }
}
