/** The virtual environment that `npm test` fills with what `scripts/requirements.mjs` names. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type RunOptions, run } from './processes.ts';

const PYTHON = fileURLToPath(new URL('../../node_modules/.s3mount-python/bin/python', import.meta.url));

/** Runs a script with pandas and its like to its end, blocking; its stdout. */
export function python(script: string, args: readonly string[], options: RunOptions = {}): string {
  if (!existsSync(PYTHON)) throw new Error('pandas is not installed: npm test -- programs does it');
  return run(PYTHON, ['-c', script, ...args], options);
}
