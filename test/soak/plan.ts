/** What `npm run soak` is asked for. Pure. */
import { parseArgs } from 'node:util';
import { PROPERTIES } from '../model/properties.ts';

export const USAGE = `npm run soak -- [options] [NAME…]
  NAME           load (64 processes on a real mount), fuzz, models, or one of the models' properties:
                 ${Object.keys(PROPERTIES).join(', ')}; default: all
  --minutes N    of load and models (60)
  --inputs N     of each fuzzer (a million for each hour); a million take an hour of a core
  --seed N       to play one again (drawn from the time)
  --write-docs   the load's plot into docs/img, its figures into docs/RELIABILITY.md`;

export interface SoakPlan {
  readonly minutes: number;
  readonly seed: number;
  readonly load: boolean;
  /** Inputs of each fuzzer; 0: none. */
  readonly inputs: number;
  /** Properties of the models. */
  readonly properties: readonly string[];
  readonly writeDocs: boolean;
}

/** A sentence for people; no stack. */
export class Refusal extends Error {}

const INPUTS_PER_HOUR = 1_000_000;

/** `undefined`: help is wanted. Throws a `Refusal`. */
export function soakPlan(args: readonly string[], now: number): SoakPlan | undefined {
  const { values, positionals } = parsed(args);
  if (values.help) return undefined;
  const all = Object.keys(PROPERTIES);
  const unknown = positionals.find(name => !['load', 'fuzz', 'models', ...all].includes(name));
  if (unknown !== undefined) {
    throw new Refusal(`there is no '${unknown}'; there are load, fuzz, models, ${all.join(', ')}.`);
  }
  const wants = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
  const minutes = numberOf('minutes', values.minutes) ?? 60;
  const inputs = numberOf('inputs', values.inputs) ?? Math.ceil((minutes * INPUTS_PER_HOUR) / 60);
  const writeDocs = values['write-docs'];
  if (writeDocs && !wants('load')) throw new Refusal('--write-docs writes what the load has shown: name load too.');
  return {
    minutes,
    // A generator of random numbers takes 31 bits.
    seed: numberOf('seed', values.seed) ?? now % 2 ** 31,
    load: wants('load'),
    inputs: wants('fuzz') ? inputs : 0,
    properties: wants('models') ? all : all.filter(name => positionals.includes(name)),
    writeDocs,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string' },
        inputs: { type: 'string' },
        seed: { type: 'string' },
        'write-docs': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
      allowPositionals: true,
    });
  } catch (error) {
    throw new Refusal(`${(error as Error).message}\n${USAGE}`);
  }
}

function numberOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0) || value === Infinity) throw new Refusal(`--${option} wants a number above 0, not '${text}'.`);
  return value;
}
