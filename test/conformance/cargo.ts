/** Programs from crates.io: those that `npm test` installed into the checkout, or that are in the PATH. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const INSTALLED = fileURLToPath(new URL('../../node_modules/.s3mount-cargo/bin/', import.meta.url));

export function cargoProgram(name: string): string {
  const path = INSTALLED + name;
  if (!existsSync(path)) throw new Error(`${name} is not installed: npm run conformance does it`);
  return path;
}
