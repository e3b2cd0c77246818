/** The command line: which command, with which words; and how an error becomes a line on stderr and an exit code. */
import { visible } from '../errors.ts';
import type { CommandLine } from './command-line.ts';
import { configDirectories } from './config-file.ts';
import { startInBackground } from './daemon.ts';
import { errorLine, exitCodeOf } from './exit-codes.ts';
import { type Invocation, invocationOf } from './invocation.ts';
import { type MountArguments, readConfig } from './options.ts';
import { readPlainMount } from './plain-mount.ts';
import { terminalListener } from './ready-pipe.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);
/** Sentences hold names of files, and what servers said. */
const say = (text: string): void => void process.stderr.write(`${text.split('\n').map(visible).join('\n')}\n`);
const note = (message: string): void => say(`s3mount: ${message}`);

/** Runs one command line. The process's exit code is set; a daemon in the foreground ends the process itself. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const invocation = invocationOf(process.argv[1] ?? 's3mount', args);
    await run(readPlainMount(invocation.args, invocation) ?? (await readByParser(invocation)));
  } catch (error) {
    say(errorLine(error));
    process.exitCode = exitCodeOf(error);
  }
}

async function readByParser(invocation: Invocation): Promise<CommandLine> {
  const { readCommandLine } = await import('./command-line.ts');
  return readCommandLine(invocation.args, invocation);
}

async function run(line: CommandLine): Promise<void> {
  switch (line.kind) {
    case 'text':
      print(line.text);
      return;
    case 'command':
      await line.command.run(line.given, { print, say, env: process.env });
      return;
    case 'mount':
      await mount(line.given, line.readyFd, line.pretend ?? false);
  }
}

async function mount(given: MountArguments, readyFd: number | undefined, pretend: boolean): Promise<void> {
  const config = readConfig(given, { env: process.env, cwd: process.cwd(), configDirectories: configDirectories() });
  const isDaemon = readyFd !== undefined;
  if (!isDaemon) for (const warning of config.warnings) note(warning);
  if (pretend) return;
  if (isDaemon || config.values.foreground) {
    const [{ runDaemon }, { pipeToParent }] = await Promise.all([import('./run-daemon.ts'), import('./ready-pipe.ts')]);
    await runDaemon(config, isDaemon ? pipeToParent(readyFd) : terminalListener(say), isDaemon);
    return;
  }
  await startInBackground(given, config, note);
  if (standsIn(config.mountPoint)) {
    note(`this shell still stands beneath the mount; 'cd .' brings it in.`);
  }
}

function standsIn(mountPoint: string): boolean {
  const cwd = process.cwd();
  return cwd === mountPoint || cwd.startsWith(`${mountPoint}/`);
}
