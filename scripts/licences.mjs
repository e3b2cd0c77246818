// The licences of what a bundle holds, as one text.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGE = /^(.*node_modules\/((?:@[^/]+\/)?[^/]+))\//;

/** `inputs`: of an esbuild metafile, relative to `root`. Sorted by name and version. */
export function licencesOf(inputs, root) {
  const places = new Set(inputs.map(input => PACKAGE.exec(input)?.[1]).filter(place => place !== undefined));
  const parts = new Map();
  for (const place of places) {
    const directory = join(root, place);
    if (!existsSync(join(directory, 'package.json'))) continue;
    const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
    const file = readdirSync(directory).find(entry => /^licen[cs]e/i.test(entry));
    const text = file
      ? readFileSync(join(directory, file), 'utf8').trim()
      : `(${license}; the package holds no text of it)`;
    parts.set(`${name} ${version}`, { text, license });
  }
  // Dozens of packages of one family have one text: it stands once, below all their names.
  const byText = new Map();
  for (const [title, { text, license }] of [...parts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    byText.set(text, [...(byText.get(text) ?? []), `${title} (${license})`]);
  }
  return [...byText].map(([text, titles]) => `${titles.join('\n')}\n\n${text}\n`).join(`\n${'-'.repeat(80)}\n\n`);
}
