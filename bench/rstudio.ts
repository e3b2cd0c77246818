/**
 * What an RStudio project on a mount costs: its session replayed (`test/support/rstudio-session.ts`) in real time on an empty bucket
 * of the embedded server, and the requests counted. `node --import tsx bench/rstudio.ts [--minutes 10] [--speed 1]`; the bundle must
 * have been built. First somebody types all the time, then the project is only open for a third as long.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { costOf } from '../src/cli/prices.ts';
import { EmbeddedChild } from '../test/support/s3-child.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const { values } = parseArgs({ options: { minutes: { type: 'string' }, speed: { type: 'string' } } });
const minutes = Number(values.minutes ?? 10);
const speed = values.speed ?? '1';

const directory = mkdtempSync(join(tmpdir(), 's3mount-rstudio-'));
const works = join(directory, 'works');
mkdirSync(works);
const s3 = await EmbeddedChild.start({ buckets: ['desk'] });
const { url, region, accessKeyId, secretAccessKey } = s3.access;

function program(name: string, ...args: string[]): Promise<string> {
  const child = spawn(name, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return new Promise((resolve, reject) => {
    child.once('close', code =>
      code === 0 ? resolve(said) : reject(new Error(`${name} ${args.join(' ')}: exit ${code}`)),
    );
  });
}

const s3mount = (...args: string[]): Promise<string> => program(process.execPath, file('../bin/s3mount'), ...args);

try {
  const options = `url=${url},use_path_request_style,region=${region},state_dir=${join(directory, 'state')}`;
  await s3mount('desk', works, '-o', options);
  for (const [name, length, ...how] of [
    ['typing', minutes],
    ['open', minutes / 3, 'idle'],
  ] as const) {
    mkdirSync(join(works, name));
    await s3.reset();
    const session = [file('../test/support/rstudio-session.ts'), join(works, name), String(length * 60), speed, ...how];
    const summary = await program(process.execPath, '--import=tsx', ...session);
    const { requests } = await s3.stats();
    const each = Object.entries(requests).map(([op, count]) => `${op} ${(count / length).toFixed(1)}`);
    const dollars = (costOf(requests) / length) * 60 * 8;
    console.log(`${name}, ${length.toFixed(1)} minutes: ${summary.trim()}`);
    console.log(`  requests a minute: ${each.join(', ')}; $${dollars.toFixed(3)} for 8 hours`);
  }
} finally {
  await s3mount('umount', works).catch((error: Error) => console.error(error.message));
  await s3.stop();
  rmSync(directory, { recursive: true, force: true });
}
