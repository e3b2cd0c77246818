// `npm run soak [-- --minutes N] [--seed N] [NAME…]`: the model tests with as many random runs as the time allows (an hour).
// A failure is printed with what it takes to play it again; the soak goes on and ends with 1.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { install, root } from './prepare.mjs';

if (!existsSync(join(root, 'node_modules/tsx'))) install([], line => console.log(line));
const child = spawn(process.execPath, ['--import=tsx', 'test/model/soak.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
});
child.once('exit', code => {
  process.exitCode = code ?? 1;
});
