/** Two mounts of one bucket, and random programs on both. */
import { clients } from './properties.ts';
import { testProperty } from './test-property.ts';

testProperty(clients);
