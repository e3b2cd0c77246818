import fc from 'fast-check';
import t from 'tap';
import { ownText } from '../../src/s3/own-text.ts';

t.test('the same text', async t => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), text => ownText(text) === text));
  const lone = `a lone surrogate \ud800 in the middle`;
  t.equal(ownText(lone), lone);
  t.equal(ownText('x'.repeat(10_000)), 'x'.repeat(10_000));
});

t.test('one key of a listing does not keep the listing in memory', async t => {
  const kept: string[] = [];
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 300; i++) {
    // 500 KB each: 150 MB if they stayed.
    const page = Buffer.alloc(500_000, `page ${i} `).toString('latin1');
    kept.push(ownText(page.slice(1000, 1040)));
  }
  const grown = process.memoryUsage().heapUsed - before;
  t.ok(grown < 60_000_000, `${Math.round(grown / 1e6)} MB for ${kept.length} keys`);
});
