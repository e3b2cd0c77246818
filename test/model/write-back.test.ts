/** Random operations on the whole filesystem, with saves and unlinks that are queued, against the reference. */
import { queued } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(queued);
