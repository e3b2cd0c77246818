import { directories } from './directories.ts';
import type { FunctionalTest } from './functional.ts';
import { names } from './names.ts';
import { reading } from './reading.ts';
import { renaming } from './renaming.ts';
import { writing } from './writing.ts';

export const functionalTests: readonly FunctionalTest[] = [
  ...reading,
  ...names,
  ...directories,
  ...writing,
  ...renaming,
];
