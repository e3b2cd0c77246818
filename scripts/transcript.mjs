// Writes the transcript in README.md from a real run: the embedded S3 server, a bucket, `bin/s3mount`, and a shell.
//   npm run build && node --import tsx scripts/transcript.mjs [--print]
// The server and the daemon are processes of their own: this one makes blocking calls on the mount.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

const root = fileURLToPath(new URL('..', import.meta.url));
const PORT = '9000';
const BUCKET = 'my-bucket';
const [KEY, SECRET] = ['transcript', 'secret'];

/** What another program put there before. */
const OBJECTS = {
  'sales/2025.csv': 'day,amount\n2025-12-30,17\n2025-12-31,25\n',
  'sales/2026.csv': 'day,amount\n2026-01-01,3\n',
  'notes/읽어 보기.txt': 'hello\n',
};

const COMMANDS = [
  's3mount my-bucket ~/works -o umask=0022',
  'ls -R ~/works',
  'echo 2026-01-02,8 >> ~/works/sales/2026.csv',
  'cat ~/works/sales/2026.csv',
  "sed -i 's/,25/,26/' ~/works/sales/2025.csv && tail -1 ~/works/sales/2025.csv",
  'tar -cf ~/works/sales.tar -C ~/works sales && tar -tf ~/works/sales.tar',
  'mv ~/works/sales ~/works/archive && rm ~/works/notes/*',
  'df -h --output=source,fstype,size ~/works',
  's3mount umount ~/works',
];

const home = mkdtempSync(join(tmpdir(), 's3mount-transcript-'));
mkdirSync(join(home, 'works'));
mkdirSync(join(home, 'bin'));
symlinkSync(join(root, 'bin/s3mount'), join(home, 'bin/s3mount'));
const environment = {
  HOME: home,
  PATH: `${join(home, 'bin')}:${process.env.PATH}`,
  LC_ALL: 'C.UTF-8',
  AWS_ACCESS_KEY_ID: KEY,
  AWS_SECRET_ACCESS_KEY: SECRET,
  AWS_EC2_METADATA_DISABLED: 'true',
  S3MOUNT_URL: `http://127.0.0.1:${PORT}`,
  S3MOUNT_USE_PATH_REQUEST_STYLE: '1',
  S3MOUNT_STATE_DIR: join(home, 'state'),
};

function shell(command) {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
    env: environment,
    cwd: home,
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`${command}: ${status}: ${stdout}${stderr}`);
  return `${stdout}${stderr}`.replaceAll(home, '~');
}

const server = spawn(
  process.execPath,
  [
    '--import',
    import.meta.resolve('tsx'),
    `${root}src/embedded-s3/main.ts`,
    '--port',
    PORT,
    '--bucket',
    BUCKET,
    '--key',
    `${KEY}:${SECRET}`,
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
const lines = [];
try {
  await once(server.stdout, 'data');
  const s3 = new S3Client({
    endpoint: environment.S3MOUNT_URL,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: KEY, secretAccessKey: SECRET },
  });
  for (const [Key, Body] of Object.entries(OBJECTS)) await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body }));
  lines.push(`$ export S3MOUNT_URL=${environment.S3MOUNT_URL}   # the embedded server; leave it out for AWS`);
  for (const command of COMMANDS) {
    lines.push(`$ ${command}`);
    lines.push(
      ...shell(command)
        .split('\n')
        .filter(line => line !== ''),
    );
  }
  lines.push('# and another client of the bucket sees:');
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket: BUCKET }));
  for (const { Key, Size } of Contents) lines.push(`${String(Size).padStart(8)}  ${Key}`);
  s3.destroy();
} finally {
  spawnSync('umount', ['-l', join(home, 'works')], { stdio: 'ignore' });
  server.kill();
  rmSync(home, { recursive: true, force: true });
}

const block = `\`\`\`console\n${lines.join('\n')}\n\`\`\``;
if (process.argv.includes('--print')) console.log(block);
else {
  const file = `${root}README.md`;
  const text = readFileSync(file, 'utf8');
  const written = text.replace(
    /(<!-- transcript: [^\n]* -->\n)[\s\S]*?(\n<!-- end -->)/,
    (_, begin, end) => begin + block + end,
  );
  if (written === text && !text.includes(block)) throw new Error('README.md has no place for the transcript');
  writeFileSync(file, written);
}
