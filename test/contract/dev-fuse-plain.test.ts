/** Our own binding where koffi has no library: plain reads and writes, and mount(8). Needs root and /dev/fuse. */
import t from 'tap';
import { mountChild } from '../support/mounted-child.ts';
import { bindingContract } from './binding.ts';

await t.test('contract', t => bindingContract(t, options => mountChild({ ...options, binding: 'dev-fuse-plain' })));
