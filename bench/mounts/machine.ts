/** What the figures were measured on. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';

export function describeMachine(): string[] {
  const all = cpus();
  let system = 'Linux';
  try {
    system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? system;
  } catch {
    // A system without that file is described by its kernel.
  }
  return [
    `${all.length} × ${all[0]?.model ?? arch()} (${arch()}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory`,
    `${system}, kernel ${release()}, Node ${process.versions.node}`,
  ];
}

/** Short hash of the checkout's commit, with `+` where files differ from it. */
export function describeCommit(root: string): string | undefined {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync('git', ['-C', root, ...args], { encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  };
  const hash = git('rev-parse', '--short', 'HEAD');
  if (hash === undefined) return undefined;
  return git('status', '--porcelain', '--untracked-files=no', '--', 'src', 'bin') === '' ? hash : `${hash}+`;
}
