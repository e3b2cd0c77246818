/** What `s3mount doctor` found, a line each. */
import { EXIT, type ExitCode } from './exit-codes.ts';

export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  /** A word or two: `fuse.conf`. */
  readonly about: string;
  /** What is so. */
  readonly text: string;
  /** What to do about it. */
  readonly advice?: string;
  /** Of `fail`: what a mount would end with. */
  readonly exitCode?: ExitCode;
}

const ok = (about: string, text: string): Finding => ({ level: 'ok', about, text });
const warn = (about: string, text: string, advice: string): Finding => ({ level: 'warn', about, text, advice });
const fail = (about: string, text: string, advice: string, exitCode: ExitCode): Finding => ({
  level: 'fail',
  about,
  text,
  advice,
  exitCode,
});

export const finding = { ok, warn, fail };

const LEVEL_WIDTH = 5;
const ABOUT_WIDTH = 13;

export function findingLine({ level, about, text, advice }: Finding): string {
  const left = `${level.padEnd(LEVEL_WIDTH)} ${about.padEnd(ABOUT_WIDTH)} `;
  return left + (advice === undefined ? text : `${text}: ${advice}`);
}

/** That of the first that would keep a mount from working; 0 if none would. */
export function exitCodeOfFindings(findings: readonly Finding[]): ExitCode {
  return findings.find(({ level }) => level === 'fail')?.exitCode ?? EXIT.ok;
}
