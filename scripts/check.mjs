// `npm run check`: format, lint, types, and the unit tests, in seconds. `--no-tests` leaves the last out.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function step(name, args) {
  const start = performance.now();
  return new Promise(done => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (output += text));
    child.once('close', code => {
      console.log(
        `${code === 0 ? 'ok     ' : 'NOT OK '} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`,
      );
      if (code !== 0) console.log(output);
      done(code === 0);
    });
  });
}

const results = await Promise.all([
  step('format and lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']),
  step('types', ['node_modules/typescript/bin/tsc', '-p', '.']),
]);
if (!process.argv.includes('--no-tests')) {
  results.push(await step('unit tests', ['scripts/test.mjs', 'unit']));
}
process.exitCode = results.every(Boolean) ? 0 : 1;
