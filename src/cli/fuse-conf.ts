/** /etc/fuse.conf: whether ordinary users may give allow_other, read as fusermount3 reads it. */
import { readFileSync, writeFileSync } from 'node:fs';

export const FUSE_CONF = '/etc/fuse.conf';
export const ALLOW_OTHER_LINE = 'user_allow_other';

/** `text`: all of the file. Only the word itself on a line counts; a `#` begins a comment, wherever it stands. */
export function allowsOthers(text: string): boolean {
  return text.split('\n').some(line => line.replace(/#.*/, '').trim() === ALLOW_OTHER_LINE);
}

/** The file with the line in it. The last line of a file may have no newline: what is appended would become part of it. */
export function allowingOthers(text: string): string {
  if (allowsOthers(text)) return text;
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${ALLOW_OTHER_LINE}\n`;
}

/** Empty where there is none, or none that may be read. */
export function readFuseConf(path = FUSE_CONF): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** True if the line had to be added. Throws what the system says. */
export function allowOthersIn(path = FUSE_CONF): boolean {
  const text = readFuseConf(path);
  const allowing = allowingOthers(text);
  if (allowing === text) return false;
  writeFileSync(path, allowing);
  return true;
}
