// Known holes in what people get with s3mount: `npm audit` of the packages that it runs with, and what it means.
//
//     npm run audit                                            the registry that npm is set up with
//     npm run audit -- --registry=ADDRESS   another one
//
// Exit code 0: none are known. 1: there are some. 2: the registry does not tell; private mirrors often do not.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What `npm audit --json` has said. */
export function verdict(output) {
  let said;
  try {
    said = JSON.parse(output);
  } catch {
    return { code: 2, text: 'npm audit gave no answer that can be read: nothing is known.' };
  }
  const counts = said?.metadata?.vulnerabilities;
  if (said?.error || typeof counts?.total !== 'number') {
    const why = said?.error?.summary || said?.message || 'it gave no reason';
    return {
      code: 2,
      text: `The registry that npm is set up with answers no audits (${why}): nothing is known. Ask from another network, or another registry: npm run audit -- --registry=URL`,
    };
  }
  const packages = said.metadata.dependencies?.prod;
  const among = packages === undefined ? '' : ` among ${packages} packages`;
  if (counts.total === 0) return { code: 0, text: `No hole is known${among} that s3mount runs with.` };
  const lines = Object.values(said.vulnerabilities ?? {}).map(({ name, severity, range, fixAvailable }) => {
    const mended = fixAvailable ? 'mended in a newer version' : 'not mended yet';
    return `  ${name} ${range}: ${severity}, ${mended}`;
  });
  return { code: 1, text: [`Holes are known in ${counts.total} packages${among}:`, ...lines].join('\n') };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json', ...process.argv.slice(2)], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const { code, text } = verdict(stdout ?? '');
  console.log(text);
  process.exitCode = code;
}
