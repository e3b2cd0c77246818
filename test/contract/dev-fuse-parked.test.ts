/** Our own binding where a thread waits for requests, not the event loop. Needs root and /dev/fuse. */
import t from 'tap';
import { mountChild } from '../support/mounted-child.ts';
import { bindingContract } from './binding.ts';

await t.test('contract', t => bindingContract(t, options => mountChild({ ...options, binding: 'dev-fuse-parked' })));
