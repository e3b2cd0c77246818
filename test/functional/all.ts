import type { FunctionalTest } from './functional.ts';
import { reading } from './reading.ts';

/** All of them, in the order of reading, names, writing. */
export const functionalTests: readonly FunctionalTest[] = [...reading];
