/** What a mount takes of the local disk where nobody has said how much; and that the documents say the same. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { LEAST_FREE } from '../../src/cache/disk-space.ts';
import { DISK_SHARE, type DiskShares, diskShares, JOURNAL_BYTES, TIER_BYTES } from '../../src/cli/disk-shares.ts';
import { memoryPlan } from '../../src/cli/memory.ts';
import { bytesText } from '../../src/cli/quantities.ts';
import { INDEX_BYTES } from '../../src/fs/index-space.ts';

const GIB = 2 ** 30;

t.test('together a tenth of the disk at most, each no more than its own', async () => {
  const total = fc.oneof(
    fc.nat(64 * 2 ** 20),
    fc.nat(300).map(gib => gib * GIB),
    fc.nat(2 ** 50),
  );
  fc.assert(
    fc.property(total, fc.boolean(), fc.boolean(), (total, journal, tier) => {
      const shares = diskShares(total, { journal, tier });
      const together = shares.index + (journal ? shares.journal : 0) + (tier ? shares.tier : 0);
      return (
        together <= total / 10 &&
        Object.values(shares).every(share => Number.isInteger(share) && share >= 0) &&
        shares.index <= INDEX_BYTES &&
        shares.journal <= JOURNAL_BYTES &&
        shares.tier <= TIER_BYTES &&
        atLeast(diskShares(total * 2, { journal, tier }), shares)
      );
    }),
  );
});

/** A larger disk gives nobody less. */
function atLeast(larger: DiskShares, shares: DiskShares): boolean {
  return larger.index >= shares.index && larger.journal >= shares.journal && larger.tier >= shares.tier;
}

t.test('who has a size or a disk of its own takes nothing from the others', async t => {
  const large = 1000 * GIB;
  t.same(diskShares(large, { journal: true, tier: true }), {
    index: INDEX_BYTES,
    journal: JOURNAL_BYTES,
    tier: TIER_BYTES,
  });
  const small = diskShares(8 * GIB, { journal: false, tier: true });
  t.equal(small.journal, JOURNAL_BYTES);
  t.ok(small.tier > diskShares(8 * GIB, { journal: true, tier: true }).tier);
});

t.test('the tables of RELIABILITY say what the code does', async t => {
  const text = readFileSync(new URL('../../docs/RELIABILITY.md', import.meta.url), 'utf8');
  const lines = text.split('\n');
  const cells = (name: string): string[] => {
    const line = lines.find(each => each.startsWith(`| ${name} |`));
    if (line === undefined) throw new Error(`no row for ${name}`);
    return line.split('|').map(cell => cell.trim());
  };
  const free = bytesText(LEAST_FREE);
  t.match(cells('index')[3], new RegExp(`^${bytesText(INDEX_BYTES)}`));
  t.match(cells('journal')[3], new RegExp(`^${bytesText(JOURNAL_BYTES)}`));
  t.match(cells('cache on disk')[3], new RegExp(`^${bytesText(TIER_BYTES)}`));
  for (const name of ['index', 'journal', 'cache on disk', 'spool']) t.match(cells(name)[4], new RegExp(`^${free}`));
  const nothing = (): undefined => undefined;
  const [least, most] = [2 ** 20, 2 ** 40].map(memory => memoryPlan(undefined, memory, nothing).budget);
  t.match(cells('blocks, bytes in flight, unsaved bytes')[3], `${least! / 2 ** 20} to ${bytesText(most!)}`);
  t.equal(DISK_SHARE, 0.1, 'a tenth');
  for (const gib of [8, 20, 50, 200]) {
    const alone = diskShares(gib * GIB, { journal: true, tier: false });
    const both = diskShares(gib * GIB, { journal: true, tier: true });
    const row = [gib * GIB, alone.index, alone.journal, both.journal, both.tier].map(bytesText).join(' | ');
    t.ok(lines.includes(`| ${row} |`), row);
  }
});
