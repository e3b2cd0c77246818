/** Compiled code, kept for the next start by Node 22.10 and later (`bin/s3mount` turns it on). */
import * as nodeModule from 'node:module';

/**
 * Node writes it when a process exits, which the daemon never does in order (`process-end.ts`): without this each start
 * would compile everything again, and pay for looking: 0.29 s of CPU instead of 0.20.
 */
export function keepCompiledCode(): void {
  const { flushCompileCache } = nodeModule as { readonly flushCompileCache?: () => void };
  flushCompileCache?.();
}
