/**
 * Programs on two mounts of one bucket that change the same files at the same time, and the checker of what comes of it:
 * each record of which a program was told that it is saved (or ESTALE) is in the bucket, under the name or in a conflict copy.
 */
import { spawn } from 'node:child_process';
import { withEnvironment } from './processes.ts';
import type { ForeignClient } from './s3-client.ts';

/**
 * `DIR WHO ROUNDS WAYS`: each round a record goes into a file by one of the ways, and `RECORD OUTCOME` to stdout. A record
 * stands in lines of its own; `part` writes it at a place of its own in a file of many megabytes.
 */
const PROGRAM = `
import errno, os, random, sys
d, who, rounds, ways = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split(',')
draw = random.Random(who)
def append(path, record):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try: os.write(fd, record)
    finally: os.close(fd)
def change(path, record):
    fd = os.open(path, os.O_RDWR)
    try: os.pwrite(fd, record + os.pread(fd, 1 << 24, 0), 0)
    finally: os.close(fd)
def replace(path, record):
    old = open(path, 'rb').read()
    beside = '%s.%s.tmp' % (path, who)
    with open(beside, 'wb') as f: f.write(old + record)
    os.rename(beside, path)
def make(path, record):
    fd = os.open(path + '-' + str(round), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try: os.write(fd, record)
    finally: os.close(fd)
def part(path, record):
    fd = os.open(path, os.O_RDWR)
    try: os.pwrite(fd, record, (round * 2 + (who == 'two')) * 70_001)
    finally: os.close(fd)
written = False
for round in range(rounds):
    way = draw.choice(ways)
    record = ('<%s %d %s>\\n' % (who, round, way)).encode()
    path = os.path.join(d, {'append': 'log', 'change': 'text', 'replace': 'document', 'make': 'new', 'part': 'large'}[way])
    try:
        globals()[way](path, record)
        outcome = 'saved'
    except OSError as e:
        outcome = errno.errorcode[e.errno]
    print(record.decode().strip()[1:-1], outcome, flush=True)
`;

export interface Report {
  readonly record: string;
  /** `saved`, or the errno of the call that failed. */
  readonly outcome: string;
}

/** Runs the program in `directory`, to its end. */
export function collide(directory: string, who: string, rounds: number, ways: readonly string[]): Promise<Report[]> {
  return new Promise((resolve, reject) => {
    const args = ['python3', '-c', PROGRAM, directory, who, String(rounds), ways.join()];
    const child = spawn('env', [...withEnvironment({ PATH: process.env['PATH'] }), ...args]);
    let said = '';
    let complained = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complained += text));
    child.once('close', code => {
      if (code !== 0) return reject(new Error(`python3: exit ${code}\n${complained}`));
      const lines = said.trim().split('\n');
      resolve(
        lines.map(line => {
          const [, record, outcome] = /^(.*) (\w+)$/.exec(line)!;
          return { record: `<${record}>`, outcome: outcome! };
        }),
      );
    });
  });
}

export interface Findings {
  /** Told that they are saved, and nowhere. */
  readonly lost: readonly string[];
  /** Told ESTALE at a close, and in no conflict copy. */
  readonly withoutCopy: readonly string[];
  /** Errors that nobody expects. */
  readonly odd: readonly string[];
  readonly conflicts: number;
}

export async function findings(client: ForeignClient, reports: readonly Report[]): Promise<Findings> {
  const keys = await client.keys();
  const objects = await Promise.all(keys.map(async key => ({ key, bytes: (await client.get(key))! })));
  const lost: string[] = [];
  const withoutCopy: string[] = [];
  const odd: string[] = [];
  for (const { record, outcome } of reports) {
    const places = objects.filter(({ bytes }) => bytes.includes(record)).map(({ key }) => key);
    if (outcome === 'saved' && places.length === 0) lost.push(record);
    // A program that was refused before it wrote, or whose read met the other's change, has nothing in the bucket.
    else if (outcome === 'ESTALE' && places.length > 0 && !places.some(key => key.startsWith('_conflict.')))
      withoutCopy.push(record);
    else if (!['saved', 'ESTALE', 'EEXIST'].includes(outcome)) odd.push(`${record} ${outcome}`);
  }
  return { lost, withoutCopy, odd, conflicts: keys.filter(key => key.startsWith('_conflict.')).length };
}
