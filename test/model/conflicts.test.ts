/** Random operations with another client that writes in between. */
import { conflicts } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(conflicts);
