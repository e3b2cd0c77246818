/**
 * By which name the program was called, and what its words mean under that name.
 *
 * - `s3mount`: our own command line.
 * - `s3fs` (a link): s3fs's. It has no subcommands, and the mount shows up as s3fs's does, for the watchers and scripts that
 *   look for it in `df` and /proc/mounts.
 * - `mount.fuse.s3mount`, `mount.s3mount`, `mount.fuse.s3fs` (links in /sbin): mount(8)'s helper, whose `-f` means to pretend
 *   and whose `-s` means to overlook unknown options ("EXTERNAL HELPERS" in mount(8)).
 */
import { basename } from 'node:path';
import { usageError } from './exit-codes.ts';

export interface Invocation {
  /** For our own command line. */
  readonly args: readonly string[];
  /** The first word may be a subcommand. */
  readonly subcommands: boolean;
  /** Check all, mount nothing. */
  readonly pretend: boolean;
  /** Unknown options are told, not refused. */
  readonly sloppy: boolean;
}

const HELPER = /^mount\.(?:fuse\.)?(s3mount|s3fs)$/;

/** As s3fs shows itself; given first, so that the person's own words win. */
const AS_S3FS = ['-o', 'fsname=s3fs,subtype=s3fs'];

/** s3fs's utility words, which are none of a mount. */
const UTILITY = /^(?:-u|--incomplete-mpu-list|--incomplete-mpu-abort(?:=.*)?)$/;

/** Throws a `CliError` for words that cannot be understood under this name. */
export function invocationOf(script: string, args: readonly string[]): Invocation {
  const name = basename(script);
  const plain = { args, subcommands: true, pretend: false, sloppy: false };
  // The daemon is started by the name that its parent was called by, with words of our own.
  if (args[0]?.startsWith('--ready-fd=')) return plain;
  const helper = HELPER.exec(name);
  if (helper) return fromMount(args, helper[1] === 's3fs');
  if (name !== 's3fs') return plain;
  const utility = args.find(word => UTILITY.test(word));
  if (utility !== undefined) {
    throw usageError(
      `${utility} is not offered; unfinished uploads are listed by: aws s3api list-multipart-uploads --bucket BUCKET, and a lifecycle rule of the bucket removes them.`,
    );
  }
  return { ...plain, args: args.length === 0 ? args : [...AS_S3FS, ...args], subcommands: false };
}

/** `SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` */
function fromMount(args: readonly string[], asS3fs: boolean): Invocation {
  const places: string[] = [];
  const lists: string[] = [];
  let pretend = false;
  let sloppy = false;
  let type: string | undefined;
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    if (word === '-o') lists.push('-o', args[++index] ?? '');
    else if (word === '-t') type = args[++index];
    else if (word === '-N') index++;
    else if (/^-[sfnv]+$/.test(word)) {
      pretend ||= word.includes('f');
      sloppy ||= word.includes('s');
    } else if (word.startsWith('-') && places.length < 2)
      throw usageError(`${word} is no word that mount(8) gives to its helpers.`);
    else places.push(word);
  }
  const isS3fs = asS3fs || type === 'fuse.s3fs';
  return { args: [...(isS3fs ? AS_S3FS : []), ...lists, '--', ...places], subcommands: false, pretend, sloppy };
}
