/** The properties that random commands are checked for, each with what it is fed: for the tests, and for `npm run soak`. */
import fc from 'fast-check';
import { type Round, runRounds, type Way } from './clients.ts';
import { type Command, command } from './commands.ts';
import { type ConflictRun, runConflict } from './conflicts.ts';
import { type CrashRun, runCrash } from './crashes.ts';
import { type Fault, type Faulty, runFaulty } from './faults.ts';
import { O_CREAT } from './reference.ts';
import { runCommands } from './run.ts';
import { type Group, runSteps } from './together.ts';
import type { Setting } from './world.ts';

export interface Property<T> {
  readonly title: string;
  readonly step: fc.Arbitrary<T>;
  readonly run: (setting: Setting, steps: readonly T[]) => Promise<unknown>;
  /** Of the list of steps. */
  readonly maxLength: number;
  /** How many runs a test makes of it: some 20 s on a free machine. */
  readonly runs: number;
}

export const filesystem: Property<Command> = {
  title: 'the filesystem does what POSIX says',
  step: command,
  run: runCommands,
  maxLength: 60,
  runs: 300,
};

export const queued: Property<Command> = {
  title: 'with write_back too, and S3 has it in the end',
  step: command,
  run: (setting, steps) => runCommands({ ...setting, writeBack: true }, steps),
  maxLength: 60,
  runs: 150,
};

export const express: Property<Command> = {
  title: 'over a store that lists in no order and wants parts without gaps',
  step: command,
  run: (setting, steps) => runCommands({ ...setting, express: true }, steps),
  maxLength: 60,
  runs: 100,
};

const group: fc.Arbitrary<Group> = fc.record({
  commands: fc.array(command, { minLength: 2, maxLength: 3 }),
  delays: fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }),
});

export const together: Property<Command | Group> = {
  title: 'calls at the same time are as calls in some order',
  step: fc.oneof({ weight: 2, arbitrary: command }, { weight: 1, arbitrary: group }),
  run: runSteps,
  maxLength: 30,
  runs: 250,
};

const fault: fc.Arbitrary<Fault> = fc.record({
  // Most operations make one or two.
  request: fc.constantFrom(0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5),
  kind: fc.constantFrom('unavailable', 'timeout'),
  isDone: fc.boolean(),
});
const faulty: fc.Arbitrary<Faulty> = fc.record({
  command,
  faults: fc.array(fault, { minLength: 1, maxLength: 1 }),
});

export const faults: Property<Command | Faulty> = {
  title: 'a store that fails costs no byte',
  step: fc.oneof({ weight: 2, arbitrary: command }, { weight: 3, arbitrary: faulty }),
  run: runFaulty,
  maxLength: 40,
  runs: 300,
};

const O_RDWR = 2;

/** Something open and changed. */
const opened: fc.Arbitrary<readonly Command[]> = fc
  .tuple(fc.nat(6), fc.constantFrom(-1, 0, 50_000), fc.constantFrom(1, 5000, 70_000), fc.boolean())
  .map(([below, offset, length, isSaved]) => [
    { do: 'open', at: { below, name: 'a' }, flags: O_RDWR | O_CREAT, mode: 0o644 },
    { do: 'write', file: 0, offset, length, tag: 7 },
    ...(isSaved
      ? ([
          { do: 'fsync', file: 0 },
          { do: 'write', file: 0, offset: -1, length, tag: 8 },
        ] as const)
      : []),
  ]);
const saving: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ do: fc.constantFrom('close', 'fsync'), file: fc.nat(3) }),
  fc.record({
    do: fc.constant('truncate'),
    at: fc.record({ existing: fc.constant('file'), index: fc.nat(5) }),
    size: fc.constantFrom(0, 3, 60_000),
  }),
) as fc.Arbitrary<Command>;
const prepared: fc.Arbitrary<readonly Command[]> = fc
  .tuple(fc.array(command, { maxLength: 15, size: 'max' }), opened, fc.array(command, { maxLength: 3 }))
  .map(parts => parts.flat());
const decisive = fc.oneof(saving, command);

const conflict: fc.Arbitrary<ConflictRun> = fc.record({
  before: prepared,
  meddling: fc.record({
    command: decisive,
    request: fc.constantFrom(0, 0, 0, 0, 1, 1, 1, 2, 2, 3),
    does: fc.constantFrom('put', 'put', 'put', 'delete'),
    length: fc.constantFrom(7, 5000, 100_000),
  }),
});

export const conflicts: Property<ConflictRun> = {
  title: 'nobody loses bytes to another client',
  step: conflict,
  run: async (setting, [run]) => run && runConflict(setting, run),
  maxLength: 1,
  runs: 800,
};

const crash: fc.Arbitrary<CrashRun> = fc.record({
  before: prepared,
  command: decisive,
  request: fc.constantFrom(0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6),
  isDone: fc.boolean(),
});

export const crashes: Property<CrashRun> = {
  title: 'a death costs nothing that was saved',
  step: crash,
  run: async (setting, [run]) => run && runCrash(setting, run),
  maxLength: 1,
  runs: 800,
};

const way = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<Way>('append', 'change', 'rewrite', 'overwrite', 'replace') },
  { weight: 1, arbitrary: fc.constantFrom<Way>('make', 'unlink') },
);
const program = fc.record({ way, file: fc.nat(2), pause: fc.constantFrom(0, 0, 1, 3, 10) });

const round: fc.Arbitrary<Round> = fc.record({
  // Mostly on one file.
  programs: fc
    .tuple(program, program, fc.integer({ min: 0, max: 3 }))
    .map(([one, two, same]): Round['programs'] => [one, same === 0 ? two : { ...two, file: one.file }]),
  delays: fc.array(fc.nat(6), { minLength: 1, maxLength: 7 }),
  later: fc.constantFrom(0, 0, 1, 60, 1100, 12_000),
});

export const clients: Property<Round> = {
  title: 'two mounts that change the same files overwrite nothing in silence',
  step: round,
  run: runRounds,
  maxLength: 12,
  runs: 400,
};

/** By name, as `npm run soak -- NAME …` takes them. */
export const PROPERTIES = { filesystem, express, queued, together, faults, conflicts, crashes, clients } as const;
