/**
 * The story of the people for whom this is made, with the programs themselves: an ordinary user mounts a bucket of Seoul by its
 * name alone; RStudio, Jupyter and Shiny work there, sftp uploads, and the AWS CLI, boto3 and Spark see the same objects.
 *
 * Users, fuse.conf and the names of AWS are those of a namespace of its own, so that the machine needs none of them.
 */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { insideAws } from '../support/inside-aws.ts';
import { USERS } from './users.ts';

const homes = mkdtempSync(join(tmpdir(), 's3mount-story-'));
t.teardown(() => rmSync(homes, { recursive: true, force: true }));
chmodSync(homes, 0o755);

/** A file like /etc/passwd with our users in the place of any of the same name. */
function withUsers(path: string, line: (user: (typeof USERS)[number]) => string): string {
  const others = readFileSync(path, 'utf8')
    .split('\n')
    .filter(each => each !== '' && !USERS.some(({ name }) => each.startsWith(`${name}:`)));
  return [...others, ...USERS.map(line), ''].join('\n');
}

for (const { name, uid } of USERS) {
  mkdirSync(join(homes, name));
  if (process.getuid!() === 0) chownSync(join(homes, name), uid, uid);
}

await insideAws(t, 'on a machine with the users rstudio and shiny', {
  script: fileURLToPath(new URL('./run.ts', import.meta.url)),
  root: true,
  // Whatever is left running ends with it.
  unshare: ['--pid', '--fork', '--kill-child', '--mount-proc'],
  etc: {
    passwd: withUsers('/etc/passwd', ({ name, uid }) => `${name}:x:${uid}:${uid}::${join(homes, name)}:/bin/bash`),
    group: withUsers('/etc/group', ({ name, uid }) => `${name}:x:${uid}:`),
    'fuse.conf': 'user_allow_other\n',
  },
});
