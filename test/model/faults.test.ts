/** Random operations over a store that fails, or does what it is asked and never says so. */
import { faults } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(faults);
