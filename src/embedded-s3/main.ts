/**
 * The embedded S3 server as a process of its own: prints its URL, then serves until it is told to end.
 *
 *     tsx src/embedded-s3/main.ts --bucket demo --bucket eu=eu-west-1 --latency get=20,put=30 --conn-bandwidth 90MB
 *
 * Options: --port N, --host H, --bucket NAME[=REGION] …, --key ID:SECRET[:TOKEN] …, --policy ID=FILE …, --no-verify, --region R, --host-name H …,
 * --tls [--ca-file F], --directory D, --latency CLASS=MS,…, --conn-bandwidth B, --copy-bandwidth B, --etag md5|fast,
 * --fault TEXT …, --mode NAME[=WORD] … (see `modes.ts`), --page KEYS (of a listing, 1,000 at most). While it runs, `control.ts` tells how to watch and change it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseBytes, parseDuration, parseFaults } from './faults.ts';
import { parseLatency } from './latency.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from './server.ts';

function modeOf(text: string): [string, string | true] {
  const [name = '', word = true] = text.split('=', 2);
  return [name, word];
}

/** Reads the command line. Throws with a sentence for people. */
export function parseCommandLine(args: readonly string[]): { options: EmbeddedS3Options; caFile: string | undefined } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      host: { type: 'string' },
      bucket: { type: 'string', multiple: true },
      key: { type: 'string', multiple: true },
      policy: { type: 'string', multiple: true },
      'no-verify': { type: 'boolean' },
      region: { type: 'string' },
      'host-name': { type: 'string', multiple: true },
      tls: { type: 'boolean' },
      'ca-file': { type: 'string' },
      directory: { type: 'string' },
      latency: { type: 'string' },
      'conn-bandwidth': { type: 'string' },
      'copy-bandwidth': { type: 'string' },
      etag: { type: 'string' },
      fault: { type: 'string', multiple: true },
      mode: { type: 'string', multiple: true },
      page: { type: 'string' },
    },
  });
  const buckets = (values.bucket ?? []).map(text => {
    const [name = '', region] = text.split('=', 2);
    return region === undefined ? name : { name, region };
  });
  const policies = new Map(
    values.policy?.map(text => {
      const [accessKeyId = '', file = ''] = text.split('=', 2);
      return [accessKeyId, readFileSync(file, 'utf8')] as const;
    }),
  );
  const credentials = values.key?.map(text => {
    const [accessKeyId = '', secretAccessKey = '', sessionToken] = text.split(':');
    const policy = policies.get(accessKeyId);
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      ...(policy === undefined ? {} : { policy }),
    };
  });
  if (values.etag !== undefined && values.etag !== 'md5' && values.etag !== 'fast') {
    throw new Error(`--etag is md5 or fast, not '${values.etag}'`);
  }
  const options: EmbeddedS3Options = {
    buckets,
    verifySignatures: !values['no-verify'],
    ...(values.port === undefined ? {} : { port: Number(values.port) }),
    ...(values.host === undefined ? {} : { host: values.host }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(values.region === undefined ? {} : { region: values.region }),
    ...(values['host-name'] === undefined ? {} : { hostNames: values['host-name'] }),
    ...(values.tls ? { tls: true } : {}),
    ...(values.directory === undefined ? {} : { directory: values.directory }),
    ...(values.latency === undefined ? {} : { latency: parseLatency(values.latency, parseDuration) }),
    ...(values['conn-bandwidth'] === undefined ? {} : { bandwidthPerConnection: parseBytes(values['conn-bandwidth']) }),
    ...(values['copy-bandwidth'] === undefined ? {} : { copyBandwidth: parseBytes(values['copy-bandwidth']) }),
    ...(values.etag === undefined ? {} : { etag: values.etag }),
    ...(values.fault === undefined ? {} : { faults: values.fault.flatMap(parseFaults) }),
    ...(values.mode === undefined ? {} : { modes: Object.fromEntries(values.mode.map(modeOf)) }),
    ...(values.page === undefined ? {} : { limits: { maxKeysPerPage: Number(values.page) } }),
  };
  return { options, caFile: values['ca-file'] };
}

async function run(): Promise<void> {
  let server: EmbeddedS3;
  try {
    const { options, caFile } = parseCommandLine(process.argv.slice(2));
    server = await startEmbeddedS3(options);
    if (caFile !== undefined && server.ca !== undefined) writeFileSync(caFile, server.ca);
  } catch (error) {
    process.stderr.write(`embedded-s3: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
    return;
  }
  process.stdout.write(`${server.url}\n`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void server.close());
}

// Also imported for `parseCommandLine`, and bundled under other names: then nothing runs.
if (/[\\/]embedded-s3[\\/]main\.[jt]s$/.test(process.argv[1] ?? '')) await run();
