/** What the program for plain HTTP is told. It answers as load programs do. */
import type { Plan } from './plan.ts';

export type RawJob =
  | { readonly do: 'plan'; readonly plan: Plan }
  | {
      readonly do: 'random';
      readonly key: string;
      readonly size: number;
      readonly block: number;
      readonly readers: number;
      readonly seconds: number;
    };

export interface RawOrder {
  readonly job: RawJob;
  readonly url: string;
  readonly bucket: string;
  readonly connections: number;
  /** Seconds. */
  readonly limit: number;
}
