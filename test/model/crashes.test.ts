/** Random operations that a dying daemon cuts off. */
import { crashes } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(crashes);
