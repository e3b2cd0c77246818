/** Random operations on the whole filesystem against the reference. */
import { filesystem } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(filesystem);
