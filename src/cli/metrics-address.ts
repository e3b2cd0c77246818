/** Where metrics are served: on this machine only. They name the bucket and tell what is done with it. */
import { isAbsolute } from 'node:path';
import { usageError } from './exit-codes.ts';
import type { ValueKind } from './option-values.ts';

export type MetricsAddress = { readonly host: string; readonly port: number } | { readonly path: string };

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])$/;

/** `9464`, `127.0.0.1:9464`, `[::1]:9464`, `/run/s3mount/metrics.sock`. */
export const metricsAddress: ValueKind<MetricsAddress> = {
  placeholder: 'PORT|PATH',
  optional: false,
  read(text, { name }) {
    if (text !== undefined && isAbsolute(text)) return { path: text };
    const [, host = '127.0.0.1', port] = /^(?:(.+):)?(\d{1,5})$/.exec(text ?? '') ?? [];
    if (port === undefined || Number(port) < 1 || Number(port) > 65_535) {
      throw usageError(
        `${name} needs a port, such as ${name}=9464, or the path of a socket, such as ${name}=/run/s3mount.sock.`,
      );
    }
    if (!LOOPBACK.test(host)) {
      throw usageError(`${name}=${text}: metrics are served on this machine only; write ${name}=127.0.0.1:${port}.`);
    }
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
  },
};
