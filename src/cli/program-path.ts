/** How a unit starts this program again: words whose first is absolute. */
import { readFileSync, realpathSync } from 'node:fs';

/** Where packages put programs: paths that stay the same over an upgrade. */
const PROGRAM_DIRECTORIES = ['/usr/bin', '/usr/local/bin'];

export function programWords(script: string, node: string): string[] {
  const real = realpathSync(script);
  for (const directory of PROGRAM_DIRECTORIES) {
    const link = `${directory}/s3mount`;
    if (resolved(link) === real && hasOwnInterpreter(real)) return [link];
  }
  // `#!/usr/bin/env node` finds no Node that lies in a home directory: a service has a PATH of its own.
  return [node, real];
}

function resolved(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function hasOwnInterpreter(script: string): boolean {
  const [line = ''] = readFileSync(script, 'latin1').split('\n', 1);
  return line.startsWith('#!') && !line.includes('/env ');
}
