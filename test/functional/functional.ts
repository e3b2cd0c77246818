/**
 * What a mounted bucket does, as functions of a directory: the same tests run as root and as an ordinary user, on the
 * embedded S3 server and on Ceph RGW. Each has a directory and a prefix of its own. Calls on the mount may block.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { aMount, type MountTestOptions } from '../support/mount.ts';
import type { ForeignClient } from '../support/s3-client.ts';

export interface Scene {
  /** A directory in the mount. */
  readonly dir: string;
  /** Its key, with the slash at the end. */
  readonly prefix: string;
  /** The same below the mount's own prefix, as the log has it. */
  readonly shown: string;
  /** Another client of the bucket. */
  readonly client: ForeignClient;
  /** What the daemon has logged so far. */
  log(): string;
}

export interface FunctionalTest {
  readonly name: string;
  /** Puts objects below `prefix` before the mount. Without it the directory is made through the mount. */
  readonly prepare?: (client: ForeignClient, prefix: string) => Promise<unknown>;
  readonly run: (t: Test, scene: Scene) => Promise<void> | void;
}

/** Mounts one bucket and runs all tests in it. */
export async function runFunctional(
  t: Test,
  tests: readonly FunctionalTest[],
  options: MountTestOptions = {},
): Promise<void> {
  const below = options.prefix === undefined ? '' : `${options.prefix}/`;
  const places = tests.map((test, index) => ({ test, name: `t${index}` }));
  const mount = await aMount(t, {
    ...options,
    async prepare(client, s3) {
      await options.prepare?.(client, s3);
      for (const { test, name } of places) await test.prepare?.(client, `${below}${name}/`);
    },
  });
  for (const { test, name } of places) {
    const dir = join(mount.dir, name);
    await t.test(test.name, async t => {
      if (!test.prepare) mkdirSync(dir);
      await test.run(t, {
        dir,
        prefix: `${below}${name}/`,
        shown: `${name}/`,
        client: mount.client,
        log: () => mount.log(),
      });
    });
  }
  t.notMatch(mount.log(), /"level":(50|60)/, 'nothing was logged as an error');
}
