/** No fault of S3 or the network costs a byte, mixes files, hangs, or tells a program the wrong thing. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { allCells, runMatrix } from './matrix.ts';
import { withTables } from './report.ts';

/** Every operation that the store can send, by S3's name. */
const SENT = [
  'AbortMultipartUpload',
  'CompleteMultipartUpload',
  'CopyObject',
  'CreateMultipartUpload',
  'DeleteObject',
  'DeleteObjects',
  'GetObject',
  'GetObjectTagging',
  'HeadObject',
  'ListObjectsV2',
  'PutObject',
  'UploadPart',
  'UploadPartCopy',
];

t.test('the fault matrix', async t => {
  const cells = await allCells();
  t.same([...new Set(cells.map(({ request }) => request))].sort(), SENT, 'every operation is struck');
  const verdicts = await runMatrix(cells);
  for (const { cell, outcome, wrongs } of verdicts) {
    if (wrongs.length === 0) continue;
    const { operation, request, nth, fault, span } = cell;
    t.fail(`${operation.name}: ${request} (${nth}), ${fault.name} ${span}: ${outcome}; ${wrongs.join('; ')}`);
  }
  const path = new URL('../../docs/RELIABILITY.md', import.meta.url);
  const document = readFileSync(path, 'utf8');
  t.equal(withTables(document, verdicts), document, 'node --import tsx scripts/fault-matrix.mjs writes it anew');
});
