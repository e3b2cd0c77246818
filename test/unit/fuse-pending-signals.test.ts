import t from 'tap';
import { endsCall, wantsInterrupt } from '../../src/fuse/pending-signals.ts';

interface Signals {
  readonly thread?: readonly number[];
  readonly process?: readonly number[];
  readonly blocked?: readonly number[];
  readonly ignored?: readonly number[];
  readonly caught?: readonly number[];
}

const mask = (signals: readonly number[] = []): string =>
  signals
    .reduce((sum, signal) => sum | (1n << BigInt(signal - 1)), 0n)
    .toString(16)
    .padStart(16, '0');

/** As proc(5) shows it. */
const status = ({ thread, process, blocked, ignored, caught }: Signals): string => `Name:\tgit
Tgid:\t4711
SigQ:\t0/31000
SigPnd:\t${mask(thread)}
ShdPnd:\t${mask(process)}
SigBlk:\t${mask(blocked)}
SigIgn:\t${mask(ignored)}
SigCgt:\t${mask(caught)}
CapInh:\t0000000000000000
`;

const [HUP, INT, KILL, USR1, ALRM, TERM, CHLD, STOP, TSTP, URG, REALTIME] = [1, 2, 9, 10, 14, 15, 17, 19, 20, 23, 34];

for (const [title, signals, expected] of [
  ['Ctrl-C', { process: [INT] }, true],
  ['Ctrl-C that is caught, as by Python', { process: [INT], caught: [INT] }, true],
  ['a fatal signal has become SIGKILL of each thread', { thread: [KILL] }, true],
  ['terminated, with a handler', { process: [TERM], caught: [TERM] }, true],
  ['the terminal is gone', { process: [HUP] }, true],
  ['an alarm without a handler kills', { process: [ALRM] }, true],
  ['git’s progress', { process: [ALRM], caught: [ALRM] }, false],
  ['Go preempts its thread', { thread: [URG], caught: [URG] }, false],
  ['a child has ended', { process: [CHLD], caught: [CHLD] }, false],
  ['a collector of garbage stops its threads', { thread: [USR1], caught: [USR1] }, false],
  ['threads of glibc speak to each other', { thread: [REALTIME], caught: [REALTIME] }, false],
  ['Ctrl-Z', { process: [TSTP] }, false],
  ['stopped by a debugger', { thread: [STOP] }, false],
  ['nohup', { process: [HUP], ignored: [HUP] }, false],
  ['a blocked signal wakes nobody', { process: [TERM], blocked: [TERM] }, false],
  ['one of several', { thread: [URG], process: [INT], caught: [URG, INT] }, true],
  ['no signal: something else woke it', {}, false],
] as [string, Signals, boolean][]) {
  t.equal(endsCall(status(signals)), expected, title);
}
t.equal(endsCall('Name:\tx\n'), undefined, 'not told');
t.equal(wantsInterrupt(0), true, 'a thread of another container');
t.equal(wantsInterrupt(2 ** 30), true, 'gone');
t.equal(wantsInterrupt(process.pid), false, 'nothing is pending here');
