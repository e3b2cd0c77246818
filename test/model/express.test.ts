/** Random operations over a store like a directory bucket (S3 Express) against the reference. */
import { express } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(express);
