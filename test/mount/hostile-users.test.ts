/** What other users of the machine try (`hostile-users.ts`): root's mounts, and nobody's attempts. By sudo if need be. */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { rootPrefix } from '../support/as-root.ts';
import { withEnvironment } from '../support/processes.ts';

const [sudo, ...args] = rootPrefix('becomes another user', import.meta.url);
if (sudo === undefined) {
  await import('./hostile-users.ts');
} else {
  const script = fileURLToPath(new URL('./hostile-users.ts', import.meta.url));
  const environment = withEnvironment({ PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], HOME: '/root' });
  await t.spawn(
    sudo,
    [...args, 'env', ...environment, process.execPath, `--import=${import.meta.resolve('tsx')}`, script],
    'as root',
  );
}
