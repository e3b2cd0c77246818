/** What the random deaths have found, each as small as it shrank. */
import { type CrashRun, runCrash } from './crashes.ts';
import { type Found, playAgain, RDWR_CREAT } from './found.ts';

const found: readonly Found<CrashRun>[] = [
  [
    'an object of zeros that a death leaves is no torn file',
    [
      {
        before: [
          { do: 'open', at: { below: 0, name: 'a' }, flags: RDWR_CREAT, mode: 0o644 },
          { do: 'write', file: 0, offset: -1, length: 1, tag: 7 },
          { do: 'fallocate', file: 0, mode: 0, offset: 262_144, length: 1 },
        ],
        command: { do: 'close', file: 0 },
        request: 0,
        isDone: true,
      },
    ],
  ],
];

playAgain(found, async (setting, runs) => {
  for (const run of runs) await runCrash(setting, run);
});
