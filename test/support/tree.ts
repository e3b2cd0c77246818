/** A tree of files with known contents on a local disk, and how to compare trees. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { patternBytes } from './pattern.ts';

export interface TreeSize {
  readonly directories: number;
  readonly filesEach: number;
  /** Bytes of the largest file; the others are spread below. */
  readonly largest: number;
}

/** Makes `root` with nested directories, odd and Korean names, empty files and empty directories. */
export function makeTree(root: string, { directories, filesEach, largest }: TreeSize): void {
  let seed = 1;
  for (let i = 0; i < directories; i++) {
    const path = join(root, `dir ${i % 5}`, i % 3 === 0 ? `하위 ${i}` : `sub-${i}`);
    mkdirSync(path, { recursive: true });
    for (let j = 0; j < filesEach; j++) {
      seed++;
      const size = j === 0 ? 0 : Math.floor((largest * ((seed * 7919) % 997)) / 997 / (j % 7 === 0 ? 1 : 50));
      writeFileSync(join(path, j % 11 === 0 ? `파일 ${j} + %20.txt` : `file${j}.dat`), patternBytes(size, seed));
    }
  }
  mkdirSync(join(root, 'empty directory'));
  writeFileSync(join(root, 'needle.txt'), 'hay\nneedle in the hay\nhay\n');
}

/** Each path below `root` with what it is: type, size and digest, a link's target. In the order of the paths. */
export function treeContents(root: string, below = ''): string[] {
  const lines: string[] = [];
  for (const name of readdirSync(join(root, below)).sort()) {
    const path = join(below, name);
    const stat = lstatSync(join(root, path));
    if (stat.isDirectory()) lines.push(`${path}/`, ...treeContents(root, path));
    else if (stat.isSymbolicLink()) lines.push(`${path} -> ${readlinkSync(join(root, path))}`);
    else if (!stat.isFile()) lines.push(`${path} |`);
    else
      lines.push(
        `${path} ${stat.size} ${createHash('sha1')
          .update(readFileSync(join(root, path)))
          .digest('hex')}`,
      );
  }
  return lines;
}
