/** `s3mount victor-seoul DIR` with neither url= nor region=, where AWS's names lead to the embedded server. */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { insideAws } from '../support/inside-aws.ts';

await insideAws(t, 'in a namespace where AWS is the embedded server', {
  script: fileURLToPath(new URL('../functional/run-region.ts', import.meta.url)),
});
