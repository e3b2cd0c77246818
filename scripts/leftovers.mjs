// What tests must not leave behind: mounts below their temporary directory, and processes that were started in it.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Mounts below `directory`, the innermost first. */
export function mountsBelow(directory) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line =>
      line.split(' ')[4]?.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8))),
    )
    .filter(path => path?.startsWith(`${directory}/`))
    .reverse();
}

/** Processes that have `directory` as their TMPDIR: everything that was started from a test. */
export function processesOf(directory) {
  const found = [];
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      if (!environment.includes(`TMPDIR=${directory}`)) continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (command !== '') found.push({ pid: Number(pid), command });
    } catch {
      // Gone meanwhile, or not ours to read.
    }
  }
  return found;
}

/** Takes away what was left; returns a line for each. */
export function cleanUp(directory) {
  const lines = [];
  for (const path of mountsBelow(directory)) {
    lines.push(`left mounted: ${path}`);
    if (spawnSync('fusermount3', ['-uz', path], { stdio: 'ignore' }).status !== 0) spawnSync('umount', ['-l', path]);
  }
  for (const { pid, command } of processesOf(directory)) {
    lines.push(`left running: ${pid} ${command.slice(0, 120)}`);
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  return lines;
}
