/**
 * The child process that serves a `MemoryFs` on a mount, for tests that touch the mount from outside. Started with `fork`;
 * its one argument is a `ServeOptions` as JSON; talks over IPC.
 */
import { spawn } from 'node:child_process';
import { FsError } from '../../src/errors.ts';
import { DevFuseBinding } from '../../src/fuse/dev-fuse-binding.ts';
import { FuseNativeBinding } from '../../src/fuse/fuse-native-binding.ts';
import { MountError } from '../../src/fuse/mount-error.ts';
import { observed } from '../../src/fuse/observed.ts';
import type { KernelBinding, Mounted, MountOptions } from '../../src/fuse/ops.ts';
import { Counters, type Log } from '../../src/telemetry.ts';
import { delayed, MemoryFs } from './memory-fs.ts';

export interface ServeOptions {
  readonly binding: 'dev-fuse' | 'dev-fuse-parked' | 'dev-fuse-plain' | 'fuse-native';
  readonly mount: MountOptions;
  /** Every operation answers by a promise. */
  readonly delayed: boolean;
  /** ms for which the kernel may keep attributes and entries. */
  readonly ttl: number;
}

export type Command =
  | { readonly do: 'unmount'; readonly lazy: boolean }
  | { readonly do: 'set-content'; readonly path: string; readonly content: string }
  | { readonly do: 'invalidate-inode'; readonly path: string; readonly pages: boolean }
  | { readonly do: 'invalidate-entry'; readonly name: string }
  | { readonly do: 'counts' };

export type Message =
  | { readonly event: 'mounted' }
  | { readonly event: 'refused'; readonly code: string; readonly message: string }
  | { readonly event: 'ended'; readonly end: string }
  | { readonly event: 'bug'; readonly message: string }
  | { readonly event: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly event: 'failure'; readonly id: number; readonly code: string };

const tell = (message: Message): void => {
  process.send?.(message);
};

const options = JSON.parse(process.argv[2]!) as ServeOptions;
const log: Log = {
  debug() {},
  info() {},
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
};
const telemetry = new Counters(process.env['SERVE_QUIET'] ? undefined : log);
const memory = new MemoryFs({ ttl: options.ttl });
const ops = observed(options.delayed ? delayed(memory) : memory, telemetry);

function makeBinding(): KernelBinding {
  const common = {
    telemetry,
    uid: process.getuid!(),
    gid: process.getgid!(),
    onBug: (error: unknown) => tell({ event: 'bug', message: String(error) }),
  };
  if (options.binding === 'fuse-native') return new FuseNativeBinding(common);
  const transports = { 'dev-fuse': 'auto', 'dev-fuse-parked': 'parked', 'dev-fuse-plain': 'plain' } as const;
  return new DevFuseBinding({ ...common, transport: transports[options.binding] });
}

async function run(mounted: Mounted, command: Command): Promise<unknown> {
  switch (command.do) {
    case 'unmount':
      await mounted.unmount({ lazy: command.lazy });
      return undefined;
    case 'set-content':
      return memory.setContent(command.path, command.content);
    case 'invalidate-inode':
      return mounted.notifier.invalidateInode(memory.at(command.path).nodeid, command.pages);
    case 'invalidate-entry':
      return mounted.notifier.invalidateEntry(1, command.name);
    case 'counts':
      return {
        ...Object.fromEntries(telemetry.values),
        ...Object.fromEntries(memory.calls),
        lookups: memory.lookups,
        lastMode: memory.lastMode,
      };
  }
}

// A process with a thread parked in a read of /dev/fuse cannot end by exit: the kernel must do it.
const leave = (): never => process.kill(process.pid, 'SIGKILL') as never;

// Neither can it end by a crash; the mount would stay, and whoever touches it would hang.
const crash = (error: unknown): void => {
  if (process.connected) console.error(error);
  spawn('umount', ['-l', options.mount.mountPoint], { stdio: 'ignore' }).on('exit', leave);
};
process.on('uncaughtException', crash);
process.on('unhandledRejection', crash);

try {
  const mounted = await makeBinding().mount(ops, options.mount);
  let last: Promise<void> = Promise.resolve();
  process.on('message', ({ id, command }: { id: number; command: Command }) => {
    const answered = run(mounted, command).then(
      value => tell({ event: 'answer', id, value }),
      (error: unknown) =>
        tell({
          event: 'failure',
          id,
          code: error instanceof FsError || error instanceof MountError ? error.code : `${error}`,
        }),
    );
    last = answered;
  });
  // The parent has died: nobody else would take the mount away.
  process.on('disconnect', () => void mounted.unmount({ lazy: true }).finally(leave));
  tell({ event: 'mounted' });
  const end = await mounted.ended;
  await memory.destroy();
  // An unmount that was asked for is answered first.
  await last;
  process.removeAllListeners('disconnect');
  process.send?.({ event: 'ended', end } satisfies Message, () => process.exit(0));
} catch (error) {
  const code = error instanceof MountError ? error.code : 'crash';
  process.send?.({ event: 'refused', code, message: String(error instanceof Error ? error.message : error) }, () =>
    process.exit(1),
  );
}
