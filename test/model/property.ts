/** Checks one property of random commands, for the tests and for `npm run soak`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Property } from './properties.ts';
import { settings } from './settings.ts';

export interface Verdict {
  readonly runs: number;
  readonly seed: number;
  /** How to play it again, what was done, and what was wrong; empty if all was well. */
  readonly failure: readonly string[];
}

export async function examine<T>(
  property: Property<T>,
  options: { readonly runs: number; readonly seed?: number | undefined; readonly path?: string | undefined },
): Promise<Verdict> {
  const spool = mkdtempSync(join(tmpdir(), 's3mount-model-'));
  try {
    const steps = fc.array(property.step, { maxLength: property.maxLength, size: 'max' });
    const details = await fc.check(
      fc.asyncProperty(settings(spool), steps, async (setting, list) => void (await property.run(setting, list))),
      {
        numRuns: options.runs,
        ...(options.seed !== undefined && { seed: options.seed }),
        ...(options.path !== undefined && { path: options.path }),
      },
    );
    const { numRuns: runs, seed, failed, counterexamplePath, counterexample, errorInstance } = details;
    if (!failed) return { runs, seed, failure: [] };
    const error = errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : errorInstance;
    const failure = [
      `MODEL_SEED=${seed} MODEL_PATH=${counterexamplePath}`,
      JSON.stringify(counterexample),
      String(error),
    ];
    return { runs, seed, failure };
  } finally {
    rmSync(spool, { recursive: true, force: true });
  }
}
