/** What the random tests over a failing store have found, each as small as it shrank. */
import type { Command } from './commands.ts';
import { type Fault, type Faulty, runFaulty } from './faults.ts';
import { type Found, playAgain, RDWR_CREAT, WRONLY_CREAT_TRUNC } from './found.ts';

const failing = (request: number, isDone = false): Fault => ({ request, kind: 'unavailable', isDone });

const found: readonly Found<Command | Faulty>[] = [
  [
    'bytes kept for an unlink that failed are let go at the last close',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 1, tag: 0 },
      { do: 'open', at: { existing: 'file', index: 0 }, flags: 0, mode: 0o644 },
      { command: { do: 'unlink', at: { existing: 'file', index: 0 } }, faults: [failing(1)] },
    ],
  ],
  [
    'a large file whose unlink failed is still saved under its name',
    [
      { do: 'foreignPut', at: { below: 0, name: 'a' }, length: 131_072, tag: 0 },
      { do: 'open', at: { existing: 'file', index: 0 }, flags: 2, mode: 0o644 },
      { do: 'write', file: 0, offset: -1, length: 131_072, tag: 1 },
      { do: 'write', file: 0, offset: -1, length: 131_072, tag: 2 },
      { do: 'fsync', file: 0 },
      { do: 'forgetNames' },
      { command: { do: 'unlink', at: { existing: 'file', index: 0 } }, faults: [failing(1), failing(2)] },
      { do: 'write', file: 0, offset: 0, length: 100, tag: 3 },
      { do: 'close', file: 0 },
    ],
    { budget: 1024 * 1024 },
  ],
  [
    'a PUT whose answer was lost leaves no upload behind',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: WRONLY_CREAT_TRUNC, mode: 0o644 },
      { do: 'write', file: 0, offset: -1, length: 70_000, tag: 0 },
      { do: 'truncate', at: { existing: 'file', index: 0 }, size: 0 },
      { command: { do: 'close', file: 0 }, faults: [failing(0, true)] },
    ],
  ],
  [
    'a copy whose answer was lost is taken back with the others',
    [
      { do: 'mkdir', at: { below: 0, name: 'a' }, mode: 0o644 },
      { do: 'mkdir', at: { below: 1, name: 'a' }, mode: 0o644 },
      {
        command: { do: 'rename', at: { existing: 'directory', index: 0 }, to: { below: 0, name: 'aa' }, flags: 0 },
        faults: [failing(1, true)],
      },
    ],
  ],
  [
    'metadata that could not be saved for a passing reason is saved later',
    [
      { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
      { do: 'close', file: 0 },
      { do: 'chmod', at: { existing: 'file', index: 0 }, mode: 0o600 },
      { command: { do: 'advance', ms: 60 }, faults: [failing(0)] },
      { do: 'advance', ms: 12_000 },
    ],
  ],
  [
    'a directory that a failed rename was to replace stays',
    [
      { do: 'mkdir', at: { below: 0, name: 'a' }, mode: 0o755 },
      { do: 'mkdir', at: { below: 0, name: '-' }, mode: 0o700 },
      { do: 'mkdir', at: { below: 2, name: 'aa' }, mode: 0o700 },
      {
        command: { do: 'rename', at: { existing: 'directory', index: 1 }, to: { below: 0, name: '-' }, flags: 0 },
        faults: [failing(3)],
      },
    ],
  ],
];

playAgain(found, runFaulty);
