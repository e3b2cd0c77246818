/** How a run of the random tests is set up. */
import fc from 'fast-check';
import { MIB } from '../support/file-contents.ts';
import type { Setting } from './world.ts';

export function settings(spool: string): fc.Arbitrary<Setting> {
  return fc.record({
    remembers: fc.boolean(),
    ttl: fc.constantFrom(10_000, 10_000, 0),
    openCheck: fc.constantFrom(1000, 0),
    metadata: fc.constantFrom('s3fs', 's3fs', 'both', 'aws'),
    link: fc.constantFrom('refuse', 'copy'),
    budget: fc.constantFrom(3 * MIB, 16 * MIB),
    spool: fc.constant(spool),
  });
}
