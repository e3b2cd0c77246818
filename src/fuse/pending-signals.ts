/**
 * Whether the signal that interrupts a system call is meant to end it.
 *
 * The kernel says INTERRUPT for any signal that a waiting program has not ignored. On a local disk open and close never fail
 * with EINTR, and most programs do not expect it: Go's runtime sends SIGURG to its own threads, git sets an alarm for its
 * progress, a shell gets SIGCHLD. But Ctrl-C has to work on a read that waits for the network.
 */
import { readFileSync } from 'node:fs';

// signal(7), the numbers of x86 and arm.
const SIGHUP = 1;
const SIGINT = 2;
const SIGQUIT = 3;
const SIGTERM = 15;
const SIGCHLD = 17;
const SIGCONT = 18;
const SIGSTOP = 19;
const SIGTSTP = 20;
const SIGTTIN = 21;
const SIGTTOU = 22;
const SIGURG = 23;
const SIGWINCH = 28;

const bits = (signals: readonly number[]): bigint =>
  signals.reduce((sum, signal) => sum | (1n << BigInt(signal - 1)), 0n);

/** Somebody wants the program to stop what it does; it may have a handler that cleans up first, or throws. */
const WANTS_AN_END = bits([SIGHUP, SIGINT, SIGQUIT, SIGTERM]);
/** Without a handler they do nothing, or stop the program, which then goes on where it was. */
const HARMLESS = bits([SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH]);

/** By the text of /proc/THREAD/status (proc(5)); undefined where that does not tell. */
export function endsCall(status: string): boolean | undefined {
  const mask = (name: string): bigint | undefined => {
    const match = new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status);
    return match ? BigInt(`0x${match[1]}`) : undefined;
  };
  const masks = ['SigPnd', 'ShdPnd', 'SigBlk', 'SigIgn', 'SigCgt'].map(mask);
  if (masks.includes(undefined)) return undefined;
  const [ofThread, ofProcess, blocked, ignored, caught] = masks as bigint[];
  const pending = (ofThread! | ofProcess!) & ~blocked! & ~ignored!;
  return (pending & caught! & WANTS_AN_END) !== 0n || (pending & ~caught! & ~HARMLESS) !== 0n;
}

/** Whether what `thread` waits for is to be given up. Where /proc does not tell, it is: Ctrl-C goes before. */
export function wantsInterrupt(thread: number): boolean {
  if (thread <= 0) return true;
  try {
    return endsCall(readFileSync(`/proc/${thread}/status`, 'latin1')) ?? true;
  } catch {
    return true;
  }
}
