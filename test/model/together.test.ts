/** Random calls at the same time, over a store whose answers come in any order. */
import { together } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(together);
