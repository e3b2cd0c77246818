/** What only root can do, for tests that an ordinary user runs: by sudo where it asks for no password. */
import { spawnSync } from 'node:child_process';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * What stands before a command so that root runs it. `why` and `file` (the test's URL) tell who cannot what to do.
 * @throws {Error} with the command that runs the test as root.
 */
export function rootPrefix(why: string, file: string): readonly string[] {
  if (process.getuid!() === 0) return [];
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n'];
  const path = relative(fileURLToPath(new URL('../..', import.meta.url)), fileURLToPath(file));
  throw new Error(`this test ${why}, and sudo asks for a password; run: sudo npm test -- ${path}`);
}
