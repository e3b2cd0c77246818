/**
 * One property of random commands, run until it fails or the runs are over.
 *
 * A failure prints the seed and the path: `MODEL_SEED=… MODEL_PATH=… npx tap FILE` plays it again. `MODEL_RUNS` sets how
 * many runs there are (`npm run soak` uses it).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Test } from 'tap';
import { settings } from './settings.ts';
import type { Setting } from './world.ts';

/** Enough for a slow machine with others on it; a run takes some 20 ms on a free one. */
const TIMEOUT = 280_000;

export interface PropertyOptions {
  readonly runs: number;
  /** Of the list of steps. */
  readonly maxLength: number;
}

export async function checkProperty<T>(
  t: Test,
  run: (setting: Setting, steps: readonly T[]) => Promise<unknown>,
  step: fc.Arbitrary<T>,
  options: PropertyOptions,
): Promise<void> {
  t.setTimeout(TIMEOUT);
  const spool = mkdtempSync(join(tmpdir(), 's3mount-model-'));
  t.teardown(() => rmSync(spool, { recursive: true, force: true }));
  const { MODEL_RUNS, MODEL_SEED, MODEL_PATH } = process.env;
  const steps = fc.array(step, { maxLength: options.maxLength, size: 'max' });
  const details = await fc.check(
    fc.asyncProperty(settings(spool), steps, async (setting, list) => void (await run(setting, list))),
    {
      numRuns: Number(MODEL_RUNS ?? options.runs),
      ...(MODEL_SEED !== undefined && { seed: Number(MODEL_SEED) }),
      ...(MODEL_PATH !== undefined && { path: MODEL_PATH }),
    },
  );
  if (!details.failed) {
    t.pass(`${details.numRuns} runs from seed ${details.seed}`);
    return;
  }
  const error = details.errorInstance;
  t.comment(`MODEL_SEED=${details.seed} MODEL_PATH=${details.counterexamplePath}`);
  t.comment(JSON.stringify(details.counterexample));
  t.comment(error instanceof Error ? (error.stack ?? error.message) : String(error));
  t.fail(`seed ${details.seed}, path ${details.counterexamplePath}: ${error instanceof Error ? error.message : error}`);
}
