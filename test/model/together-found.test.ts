/** What the random tests of calls at the same time have found, each as small as it shrank. */
import type { Command } from './commands.ts';
import { type Found, playAgain, RDWR_CREAT } from './found.ts';
import { type Group, runSteps } from './together.ts';

const found: readonly Found<Command | Group>[] = [
  [
    'what is made in a directory while that is renamed is there',
    [
      { do: 'mkdir', at: { below: 0, name: 'a' }, mode: 0o644 },
      { do: 'mkdir', at: { below: 0, name: '-' }, mode: 0o644 },
      { do: 'advance', ms: 12_000 },
      { do: 'stat', at: { below: 1, name: 'a' } },
      {
        commands: [
          { do: 'rename', at: { below: 0, name: '-' }, to: { below: 0, name: 'a' }, flags: 0 },
          { do: 'mkdir', at: { below: 1, name: 'a' }, mode: 0o644 },
        ],
        delays: [0, 1],
      },
    ],
  ],
  [
    'an upload that begins while its file is unlinked is not left behind',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
      {
        commands: [
          { do: 'write', file: 0, offset: -1, length: 70_000, tag: 0 },
          { do: 'unlink', at: { existing: 'file', index: 0 } },
        ],
        delays: [1],
      },
    ],
  ],
  [
    'a file closed while it is unlinked holds no memory',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'write', file: 0, offset: 0, length: 1, tag: 0 },
      {
        commands: [
          { do: 'close', file: 0 },
          { do: 'stat', at: { below: 0, name: 'a' } },
          { do: 'unlink', at: { existing: 'file', index: 0 } },
        ],
        delays: [0],
      },
    ],
  ],
  [
    'a listing does not replace what is known of an open file',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 70_000, tag: 0 },
      { do: 'link', at: { existing: 'any', index: 0 }, to: { below: 0, name: '-' } },
      { do: 'open', at: { existing: 'file', index: 0 }, flags: 0, mode: 0o644 },
      {
        commands: [{ do: 'unlink', at: { existing: 'file', index: 0 } }, { do: 'forgetNames' }],
        delays: [0],
      },
    ],
    { ttl: 0, openCheck: 0, link: 'copy' },
  ],
  [
    'an attribute removed while the file is saved is removed',
    [
      { do: 'foreignPut', at: { below: 0, name: '-' }, length: 1, tag: 0 },
      { do: 'setxattr', at: { existing: 'file', index: 0 }, name: 'user.a', value: '', flags: 0 },
      { do: 'open', at: { below: 0, name: '-' }, flags: 0o1101, mode: 0o644 },
      {
        commands: [
          { do: 'removexattr', at: { existing: 'any', index: 0 }, name: 'user.a' },
          { do: 'close', file: 0 },
        ],
        delays: [0],
      },
    ],
  ],
  [
    'a file opened while it is unlinked has its bytes, or is not there',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 1, tag: 0 },
      {
        commands: [
          { do: 'open', at: { existing: 'file', index: 0 }, flags: 0o2002, mode: 0o644 },
          { do: 'unlink', at: { existing: 'file', index: 0 } },
        ],
        delays: [0],
      },
    ],
  ],
  [
    'times set while the upload of what was written before is under way give way to those of the next write',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
      {
        commands: [
          { do: 'write', file: 0, offset: 131_071, length: 70_000, tag: 0 },
          { do: 'forgetNames' },
          { do: 'ftruncate', file: 0, size: 0 },
        ],
        delays: [0],
      },
      {
        commands: [
          { do: 'advance', ms: 1 },
          { do: 'ftruncate', file: 0, size: 300_000 },
        ],
        delays: [0],
      },
      {
        commands: [
          { do: 'open', at: { below: 0, name: 'a' }, flags: 0, mode: 0o644 },
          { do: 'utimens', at: { existing: 'file', index: 0 }, ms: 0 },
        ],
        delays: [0],
      },
      { do: 'fallocate', file: 0, mode: 17, offset: -5000, length: 1 },
    ],
  ],
];

playAgain(found, runSteps);
