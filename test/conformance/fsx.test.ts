/** fsx, the file system exerciser: random reads, writes, truncates and mmaps of one file against its own model. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';
import { cargoProgram } from './cargo.ts';

/** A seed that fails is added here. */
const SEEDS = [1, 2, 3, 4, 2026];
const OPERATIONS = 4000;

t.test('fsx', async t => {
  const mount = await aMount(t);
  for (const seed of SEEDS) {
    const artifacts = join(mount.directory, `fsx-${seed}`);
    mkdirSync(artifacts);
    const args = ['-N', String(OPERATIONS), '-S', String(seed), '-P', artifacts, mount.path(`fsx-${seed}`)];
    const output = run(cargoProgram('fsx'), args, { codes: [0, 1, 101], cwd: artifacts });
    t.match(output, /All operations completed A-OK/, `fsx -N ${OPERATIONS} -S ${seed}`);
  }
});
