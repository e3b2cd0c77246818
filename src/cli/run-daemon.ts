/** The daemon's process: signals, log, mount, life, end. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { visible } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type ControlAnswers, ControlServer } from './control-server.ts';
import { keepMemoryOutOfDumps } from './core-dump.ts';
import { EXIT, errorLine, exitCodeOf } from './exit-codes.ts';
import { findHolders } from './holders.ts';
import { Lifecycle } from './lifecycle.ts';
import { logLevel, openLog } from './log.ts';
import { mountBucket } from './mount.ts';
import type { Config } from './options.ts';
import { beginSession } from './own-session.ts';
import { BugEnd, prepareExit } from './process-end.ts';
import type { StartListener } from './ready-pipe.ts';
import { RunFile } from './run-file.ts';
import { openServiceNotify } from './service-notify.ts';
import { defaultStateDirectory, logFileOf, recoveryDirectoryOf } from './state-directory.ts';

const HOUR = 3_600_000;

/** Never returns while the process lives: it ends by itself, with the exit code of how the mount ended. */
export async function runDaemon(config: Config, listener: StartListener, background: boolean): Promise<void> {
  // In the background nobody reads it; the log has the same line.
  const say = background ? () => {} : (line: string): void => void writeSync(2, `s3mount: ${visible(line)}\n`);
  // Timers of the layers below keep no process alive; while one waits to try S3 again, nothing else might.
  setInterval(() => {}, HOUR);
  const memoryIsKept = keepMemoryOutOfDumps();
  const exit = await prepareExit();
  const service = await openServiceNotify(config.serviceSocket);
  let stop = (reason: string): void => {
    listener.failed(new Error(`${reason} before the mount answered`));
    exit(EXIT.mount);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop(signal));
  try {
    const log = openLog(
      logLevel(config.values),
      background ? logFileOf(config) : config.values.logfile,
      config.journalStream,
    );
    if (!memoryIsKept) log.debug({}, 'a core dump would contain memory: /proc/self/coredump_filter cannot be written');
    // A terminal that is closed must not take the mount with it; as with any daemon, SIGHUP is about the log.
    process.on('SIGHUP', () => log.reopen());
    process.on('SIGUSR2', () => log.cycleLevel());
    const bugEnd = new BugEnd(log, config.mountPoint, exit);
    let stopped: string | undefined;
    const { answered, mounted, filesystem, mountPoint, answers, metrics, report, close } = await mountBucket(config, {
      log,
      note: listener.note,
      status: text => service.status(text),
      onBug: error => bugEnd.begin(error),
      // From here on an end without an unmount would leave a dead mount behind.
      mounting: () => {
        stop = reason => {
          stopped = reason;
        };
      },
    });
    process.on('SIGUSR1', () => log.info({ status: report() }, 'status'));
    const runFile = announce(mountPoint, log);
    const control = runFile && (await openControl(runFile.socket, answers, log));
    const lifecycle = new Lifecycle({
      mounted,
      filesystem,
      log,
      mountPoint,
      findHolders,
      recoveryDirectory: () => recoveryDirectoryOf(config, new Date()),
      say,
      pause: ms => new Promise(resolve => void setTimeout(resolve, ms)),
      drains: { answered, every: ms => new Promise(resolve => void setTimeout(resolve, ms)) },
    });
    stop = reason => {
      service.stopping({
        answered,
        left: () => {
          const { bytes, names } = filesystem.unsaved();
          return { bytes, files: names.length };
        },
      });
      lifecycle.stop(reason);
    };
    if (stopped !== undefined) stop(stopped);
    if (background) {
      leaveTerminal();
      await beginSession();
    }
    listener.ready();
    service.ready(`${config.source} is mounted at ${mountPoint}`);
    const { exitCode, message } = await lifecycle.run();
    if (bugEnd.begun) return;
    await close().catch((error: unknown) => log.warn({ err: error }, 'the journal was not closed'));
    if (message !== undefined) {
      say(message);
      service.status(message);
    }
    control?.close();
    metrics?.close();
    if (message === undefined) runFile?.remove();
    else runFile?.ended(mountPoint, exitCode, message);
    exit(exitCode);
  } catch (error) {
    listener.failed(error);
    service.status(errorLine(error));
    if (background) writeSync(2, `${errorLine(error)}\n`);
    exit(exitCodeOf(error));
  }
}

/** Without it, `s3mount umount` falls back to umount(8): no reason not to mount. */
function announce(mountPoint: string, log: { warn(fields: object, message: string): void }): RunFile | undefined {
  try {
    return RunFile.announce(defaultStateDirectory(), mountPoint);
  } catch (error) {
    log.warn({ err: error }, 's3mount umount will not be able to find this daemon');
    return undefined;
  }
}

/** Without it `status`, `why` and `flush` have nobody to ask; the mount works all the same. */
async function openControl(path: string, answers: ControlAnswers, log: Log): Promise<ControlServer | undefined> {
  try {
    return await ControlServer.listen(path, answers, log);
  } catch (error) {
    log.warn({ err: error }, 's3mount status will not be able to ask this daemon');
    return undefined;
  }
}

/** The log file is open by its name; what still goes to 1 and 2 must not keep a rotated file or a terminal open. */
function leaveTerminal(): void {
  for (const descriptor of [1, 2]) {
    closeSync(descriptor);
    openSync('/dev/null', 'w');
  }
}
