/**
 * The daemon's log: pino, short lines on a terminal, JSON in a file.
 *
 * Lines are written synchronously: there are few of them, and the last ones before a crash are the ones that matter.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { type Level, pino } from 'pino';
import { visible } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { openLogFile } from './log-file.ts';
import type { OptionValues } from './option-table.ts';

export interface DaemonLog extends Log {
  fatal(fields: Readonly<Record<string, unknown>>, message: string): void;
  /** Opens the file by its name again, after logrotate has moved it. */
  reopen(): void;
  /** To the next of LEVELS, after the last to the first, and says so. Returns it. */
  cycleLevel(): Level;
}

/** In s3fs's order for SIGUSR2: from the quietest to the loudest. */
const LEVELS: readonly Level[] = ['fatal', 'error', 'warn', 'info', 'debug'];

export function logLevel(values: OptionValues): Level {
  if (values.debug) return 'debug';
  return values.dbglevel ?? 'info';
}

/**
 * `path` absent: to stderr, in short lines if that is a terminal, with levels if it is systemd's journal (`journalStream`: what
 * JOURNAL_STREAM says). Throws a `CliError` if the file cannot be opened.
 */
export function openLog(level: Level, path?: string, journalStream?: string, stderr = 2): DaemonLog {
  let descriptor = path === undefined ? stderr : openLogFile(path);
  const shown = path === undefined ? lineForStderr(stderr, journalStream) : undefined;
  const write = (line: string): void => {
    try {
      writeSync(descriptor, shown ? shown(line) : line);
    } catch {
      // A full disk or a terminal that went away must not end the mount.
    }
  };
  const logger = pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, { write });
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    fatal: (fields, message) => logger.fatal(fields, message),
    reopen() {
      if (path === undefined) return;
      const before = descriptor;
      descriptor = openLogFile(path);
      closeSync(before);
    },
    cycleLevel() {
      const next = LEVELS[(LEVELS.indexOf(logger.level as Level) + 1) % LEVELS.length]!;
      // Said whatever the level is: whoever sent the signal looks for it here.
      logger.level = 'info';
      logger.info({ to: next }, 'log level');
      logger.level = next;
      return next;
    },
  };
}

/** How a line looks there; undefined: as it is. */
function lineForStderr(stderr: number, journalStream: string | undefined): ((json: string) => string) | undefined {
  if (journalStream !== undefined) {
    // The variable is handed on to children whose stderr may be something else, systemd.exec(5).
    const { dev, ino } = fstatSync(stderr, { bigint: true });
    if (journalStream === `${dev}:${ino}`) return journalLine;
  }
  return stderr === 2 && process.stderr.isTTY === true ? terminalLine : undefined;
}

/** syslog's numbers, by pino's: sd-daemon(3). Without them all lines are of one level, and journalctl -p err shows none. */
const JOURNAL_LEVELS: Readonly<Record<number, number>> = { 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };

export function journalLine(json: string): string {
  const level = Number(/^\{"level":(\d+)/.exec(json)?.[1]);
  return `<${JOURNAL_LEVELS[level] ?? 6}>${json}`;
}

const LEVEL_NAMES: Readonly<Record<number, string>> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };

/** `12:34:56 warn what happened key=a/b` out of pino's JSON. */
export function terminalLine(json: string): string {
  const { level, time, msg, pid: _pid, err, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const clock = String(time).slice(11, 19);
  const rest = Object.entries(fields).map(
    ([name, value]) => ` ${name}=${visible(typeof value === 'string' ? value : JSON.stringify(value))}`,
  );
  const stack = err instanceof Object && 'stack' in err ? `\n${String(err.stack)}` : '';
  // Keys come from the bucket: what they hold must not move the cursor of whoever looks on.
  const lines = stack.split('\n').map(visible).join('\n');
  return `${clock} ${LEVEL_NAMES[level as number] ?? level} ${visible(String(msg))}${rest.join('')}${lines}\n`;
}
