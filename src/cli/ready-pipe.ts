/** What the daemon tells the command that started it, over a plain pipe: lines of JSON, then end of file. */
import { closeSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { CliError, EXIT, type ExitCode, errorLine, exitCodeOf } from './exit-codes.ts';

type Report =
  | { readonly kind: 'note'; readonly message: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string; readonly exitCode: ExitCode };

/** Where a daemon tells how its start went. In the foreground: stderr. */
export interface StartListener {
  note(message: string): void;
  ready(): void;
  failed(error: unknown): void;
}

/** The daemon's side. Nothing is said after `ready` or `failed`; a parent that is gone does not matter. */
export function pipeToParent(descriptor: number): StartListener {
  let open = true;
  const send = (report: Report, last: boolean): void => {
    if (!open) return;
    try {
      writeSync(descriptor, `${JSON.stringify(report)}\n`);
      if (last) closeSync(descriptor);
    } catch {
      // EPIPE: whoever started us did not wait.
    }
    if (last) open = false;
  };
  return {
    note: message => send({ kind: 'note', message }, false),
    ready: () => send({ kind: 'ready' }, true),
    failed: error => send({ kind: 'failed', message: errorLine(error), exitCode: exitCodeOf(error) }, true),
  };
}

export function terminalListener(write: (line: string) => void): StartListener {
  return {
    note: message => write(`s3mount: ${message}`),
    ready: () => {},
    failed: error => write(errorLine(error)),
  };
}

/** The parent's side. Resolves when the daemon is ready; rejects with its error, or with `died` at end of file. */
export async function waitForDaemon(
  pipe: Readable,
  note: (message: string) => void,
  died: () => CliError,
): Promise<void> {
  pipe.setEncoding('utf8');
  let text = '';
  for await (const piece of pipe as AsyncIterable<string>) {
    text += piece;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const report = JSON.parse(text.slice(0, end)) as Report;
      text = text.slice(end + 1);
      if (report.kind === 'ready') return;
      if (report.kind === 'note') note(report.message);
      else throw new CliError(report.exitCode, report.message.replace(/^s3mount: /, ''));
    }
  }
  throw died();
}

/** The daemon ended without a word. */
export function diedSilently(logFile: string): CliError {
  return new CliError(EXIT.bug, `the daemon ended before the mount answered; its last words are in ${logFile}.`);
}
