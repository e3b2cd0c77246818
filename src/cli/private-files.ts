/**
 * Opening files in places where other users of the machine may have put something: symbolic links, pipes, files of theirs.
 *
 * What the kernel's fs.protected_* settings refuse is refused here too, for not every machine has them on.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const WRITABLE_BY_OTHERS = 0o022;

/**
 * Opens a file to append to, made 0600 if it is not there. A link is followed only if it is root's or ours (/dev/stderr is
 * one); a pipe is never opened, which would wait for a reader; nor is another user's file, where others may put one.
 * Throws an Error for people.
 */
export function openToAppend(path: string): number {
  const uid = process.getuid!();
  let flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.isSymbolicLink()) {
    if (there.uid !== 0 && there.uid !== uid) throw new Error(`${path} is a symbolic link of another user`);
    flags &= ~O_NOFOLLOW;
  }
  const descriptor = openSync(path, flags, 0o600);
  const found = fstatSync(descriptor);
  const refuse = (why: string): never => {
    closeSync(descriptor);
    throw new Error(`${path} ${why}`);
  };
  // A pipe that is already open, as stderr is in a container, has a reader.
  if (found.isFIFO() && !there?.isSymbolicLink()) refuse('is a pipe');
  if (found.isFile() && found.uid !== uid && found.uid !== 0) {
    const directory = statSync(dirname(path));
    if (directory.mode & WRITABLE_BY_OTHERS) refuse('belongs to another user');
  }
  return descriptor;
}

/** The text of a small file that another user may have written. Undefined where there is none that can be trusted to end. */
export function readSmallFile(path: string, most: number): string | undefined {
  let descriptor: number;
  try {
    // Without O_NONBLOCK the opening of a pipe waits for a writer, who may never come.
    descriptor = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const { size } = fstatSync(descriptor);
    if (!fstatSync(descriptor).isFile() || size > most) return undefined;
    const bytes = Buffer.alloc(size);
    return bytes.toString('utf8', 0, readSync(descriptor, bytes, 0, size, 0));
  } catch {
    return undefined;
  } finally {
    closeSync(descriptor);
  }
}
