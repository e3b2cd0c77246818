/** What the random tests have found, each as small as it shrank: it must not come back. */
import type { Command } from './commands.ts';
import { type Found, playAgain, RDWR_CREAT, WRONLY_CREAT_TRUNC } from './found.ts';
import { runCommands } from './run.ts';

const found: readonly Found<Command>[] = [
  [
    'an object without metadata keeps its time over a rename',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 1, tag: 0 },
      { do: 'rename', at: { existing: 'file', index: 0 }, to: { below: 0, name: 'aa' }, flags: 0 },
    ],
  ],
  [
    'a file keeps its inode number over a rename, though everybody has forgotten it',
    [
      { do: 'open', at: { below: 0, name: 'aa' }, flags: WRONLY_CREAT_TRUNC, mode: 0o644 },
      { do: 'fstat', file: 0 },
      { do: 'rename', at: { existing: 'any', index: 0 }, to: { below: 0, name: 'a' }, flags: 0 },
    ],
  ],
  [
    'zeroing beyond the end changes no time',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 1, tag: 0 },
      { do: 'open', at: { below: 0, name: 'a' }, flags: 0o2101, mode: 0o644 },
      { do: 'fallocate', file: 0, mode: 17, offset: 131_071, length: 1 },
      { do: 'stat', at: { below: 0, name: 'a' } },
    ],
  ],
  [
    'an inode made for readdirplus that the kernel did not take is let go',
    [
      { do: 'mkdir', at: { below: 0, name: 'a' }, mode: 0o644 },
      { do: 'mkdir', at: { below: 1, name: 'a' }, mode: 0o644 },
      { do: 'readdir', at: { existing: 'any', index: 0 }, plus: true, atOnce: 3 },
    ],
  ],
  [
    'the write that begins an upload has moved the time already',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'close', file: 0 },
      { do: 'advance', ms: 1 },
      { do: 'open', at: { existing: 'file', index: 0 }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'write', file: 0, offset: 131_071, length: 70_000, tag: 0 },
    ],
  ],
  [
    'what an unsaved file was renamed over goes with its unlink',
    [
      { do: 'open', at: { below: 0, name: 'aa' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'symlink', at: { below: 0, name: 'a' }, target: 'a' },
      { do: 'rename', at: { existing: 'file', index: 0 }, to: { below: 0, name: 'a' }, flags: 0 },
      { do: 'unlink', at: { existing: 'file', index: 0 } },
    ],
  ],
  [
    'and with its next rename',
    [
      { do: 'open', at: { below: 0, name: 'aa' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'symlink', at: { below: 0, name: 'a' }, target: 'a' },
      { do: 'rename', at: { existing: 'file', index: 0 }, to: { below: 0, name: 'a' }, flags: 0 },
      { do: 'rename', at: { existing: 'file', index: 0 }, to: { below: 0, name: '-' }, flags: 0 },
    ],
  ],
  [
    'and follows the directory, to be replaced there',
    [
      { do: 'mkdir', at: { below: 0, name: 'a' }, mode: 0o755 },
      { do: 'open', at: { below: 0, name: 'aa' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'symlink', at: { below: 1, name: 'a' }, target: 'a' },
      { do: 'rename', at: { existing: 'file', index: 0 }, to: { below: 1, name: 'a' }, flags: 0 },
      { do: 'rename', at: { existing: 'directory', index: 0 }, to: { below: 0, name: '-' }, flags: 0 },
    ],
  ],
  [
    'truncate to the same size changes no time',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 4096, tag: 0 },
      { do: 'truncate', at: { existing: 'file', index: 0 }, size: 4096 },
    ],
  ],
];

playAgain(found, runCommands);
