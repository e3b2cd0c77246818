/**
 * Another user of the machine, who tries what the modes do not let them: on a mount that lets others in (allow_other), on
 * one that does not, and in the places where the daemon keeps its files. As on any disk: the answers are those of the kernel.
 * Run as root, by `hostile-users.test.ts`.
 */
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { FILE_LIMIT } from '../support/limits.ts';
import { aMount, PROGRAM, type RealMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';
import { aPlace, BUCKET } from '../support/s3mount-command.ts';

const NOBODY = 65534;

// tap's own limit of 30 s is for files that its runner starts.
t.setTimeout(FILE_LIMIT);

const AS_NOBODY = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

/** Runs lines of shell as somebody else; what they say, one line each. Each is to print `ok` or the reason of its failure. */
function asNobody(script: string, args: readonly string[]): string[] {
  return run('setpriv', [...AS_NOBODY, 'bash', '-c', script, 'test', ...args], { cwd: '/', env: { LC_ALL: 'C' } })
    .trim()
    .split('\n');
}

/** `try NAME COMMAND…` prints `NAME: ok`, or what the command said last. */
const TRY = `try() { n=$1; shift; if out=$("$@" 2>&1); then echo "$n: ok"; else echo "$n: \${out##*: }"; fi; }
cd "$1" 2>/dev/null
`;

/** `$0`: the daemon. */
const HANDED = `${TRY}
try anew cat /proc/self/fd/3
try handed cat <&3
try 'descriptors of the daemon' ls "/proc/$0/fd"
try 'its environment' cat "/proc/$0/environ"
try 'its memory' head -c 1 "/proc/$0/mem"`;

/** Node and the program, where nobody may run them: a checkout in a home is its owner's, and often Node too. */
function nobodysProgram(directory: string): readonly [node: string, program: string] {
  const [may] = asNobody('test -x "$1" && test -r "$2" && echo yes || echo no', [process.execPath, PROGRAM]);
  if (may === 'yes') return [process.execPath, PROGRAM];
  const root = dirname(dirname(PROGRAM));
  const copied = join(directory, 'program');
  for (const part of ['bin', 'dist', 'package.json']) cpSync(join(root, part), join(copied, part), { recursive: true });
  cpSync(process.execPath, join(copied, 'node'));
  chmodSync(copied, 0o755);
  return [join(copied, 'node'), join(copied, 'bin/s3mount')];
}

function daemonFiles(mount: RealMount): string[] {
  const state = join(mount.directory, 'state');
  return (readdirSync(state, { recursive: true }) as string[]).map(name => join(state, name));
}

/** Without a stat before it, which chmod(1) and its like do: one name, one call. */
const UNSEEN = `const fs = require('node:fs');
const tell = (name, work) => {
  try {
    work();
    console.log(name + ': ok');
  } catch (error) {
    console.log(name + ': ' + error.code);
  }
};
process.chdir(process.argv[1]);
for (const size of ['small', 'large']) {
  tell('chmod of ' + size, () => fs.chmodSync(size + '-chmod', 0o600));
  tell('times of ' + size, () => fs.utimesSync(size + '-utimes', 5, 5));
  tell('group of ' + size, () => fs.chownSync(size + '-chown', ${NOBODY}, ${NOBODY}));
}
fs.readdirSync('listed');
tell('listed', () => fs.chmodSync('listed/large', 0o600));
tell('root’s', () => fs.chmodSync('large-roots', 0o666));`;

t.test('the owner of a file that nobody has looked at yet may change it by his first call', async t => {
  const owned = (uid: number): { metadata: Record<string, string> } => ({
    metadata: { mode: String(0o100644), uid: String(uid), gid: String(uid) },
  });
  const own = await aMount(t, {
    options: 'allow_other,mp_umask=022',
    prepare: async client => {
      for (const [size, bytes] of [
        ['small', 100],
        ['large', 10_000],
      ] as const) {
        for (const call of ['chmod', 'utimes', 'chown']) {
          await client.put(`${size}-${call}`, Buffer.alloc(bytes), owned(NOBODY));
        }
      }
      await client.put('large-roots', Buffer.alloc(10_000), owned(0));
      await client.put('listed/', '', { metadata: { ...owned(NOBODY).metadata, mode: String(0o040755) } });
      await client.put('listed/large', Buffer.alloc(10_000), owned(NOBODY));
    },
  });
  const [node] = nobodysProgram(own.directory);
  const said = run('setpriv', [...AS_NOBODY, node, '-e', UNSEEN, own.dir], { cwd: '/' })
    .trim()
    .split('\n');
  t.same(said, [
    'chmod of small: ok',
    'times of small: ok',
    'group of small: ok',
    'chmod of large: ok',
    'times of large: ok',
    'group of large: ok',
    'listed: ok',
    'root’s: EPERM',
  ]);
  t.equal(statSync(own.path('large-chmod')).mode & 0o777, 0o600);
});

t.test('with allow_other each user may do what modes and owners let them, and no more', async t => {
  const own = await aMount(t, { options: 'allow_other' });
  const path = (...names: string[]): string => own.path(...names);
  chmodSync(own.dir, 0o755);
  const file = (name: string, mode: number): void => {
    writeFileSync(path(name), `bytes of ${name}`);
    chmodSync(path(name), mode);
  };
  const directory = (name: string, mode: number): void => {
    mkdirSync(path(name));
    chmodSync(path(name), mode);
  };
  directory('closed', 0o700);
  file('closed/open', 0o666);
  directory('pass', 0o711);
  file('pass/known', 0o644);
  directory('sticky', 0o1777);
  file('sticky/roots', 0o666);
  file('sticky/suid', 0o4777);
  directory('group', 0o2777);
  file('closed-file', 0o600);
  file('for-all', 0o666);
  const said = asNobody(
    `${TRY}
    try 'file in a closed directory' cat closed/open
    try 'the same by a detour' cat pass/../closed/./open
    try 'closed directory listed' ls closed
    try 'known name in a directory that may be passed' cat pass/known
    try 'that directory listed' ls pass
    try 'new name where nobody may write' touch pass/new
    try 'closed file' cat closed-file
    try 'closed file by a link' sh -c 'ln -s ../closed-file sticky/link && cat sticky/link'
    try 'own file in a sticky directory' sh -c 'echo x > sticky/mine'
    try 'root’s file there removed' rm -f sticky/roots
    try 'root’s file there renamed' mv sticky/roots sticky/moved
    try 'own file over root’s' mv -f sticky/mine sticky/roots
    try 'written, as its mode lets' sh -c 'echo y > sticky/roots'
    try 'chmod of root’s' chmod 777 sticky/roots
    try 'chown to oneself' chown ${NOBODY} sticky/roots
    try 'times of root’s' touch -d 2001-01-01 sticky/roots
    try 'set-user-id file written' sh -c 'echo z >> sticky/suid'
    try 'file in a set-group-id directory' touch group/mine
    try 'given away' chown 0 group/mine
    try 'set-group-id of a group one is not in' sh -c 'chmod 2755 group/mine; test ! -g group/mine'
    exec 3< for-all
    try 'open file' cat for-all
    `,
    [own.dir],
  );
  const answers = Object.fromEntries(
    said.map(line => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
  );
  const DENIED = 'Permission denied';
  const NOT_PERMITTED = 'Operation not permitted';
  t.same(answers, {
    'file in a closed directory': DENIED,
    'the same by a detour': DENIED,
    'closed directory listed': DENIED,
    'known name in a directory that may be passed': 'ok',
    'that directory listed': DENIED,
    'new name where nobody may write': DENIED,
    'closed file': DENIED,
    'closed file by a link': DENIED,
    'own file in a sticky directory': 'ok',
    'root’s file there removed': NOT_PERMITTED,
    'root’s file there renamed': NOT_PERMITTED,
    'own file over root’s': NOT_PERMITTED,
    'written, as its mode lets': 'ok',
    'chmod of root’s': NOT_PERMITTED,
    'chown to oneself': NOT_PERMITTED,
    'times of root’s': NOT_PERMITTED,
    'set-user-id file written': 'ok',
    'file in a set-group-id directory': 'ok',
    'given away': NOT_PERMITTED,
    'set-group-id of a group one is not in': 'ok',
    'open file': 'ok',
  });
  t.equal(statSync(path('sticky/suid')).mode & 0o7777, 0o777, 'who writes takes the set-user-id bit away');
  t.equal(statSync(path('group/mine')).gid, 0, 'the group is the directory’s');
  t.equal(statSync(path('sticky/mine')).uid, NOBODY);

  // What root has opened and handed over may be read; opened anew by /proc it is the file's mode that counts.
  const handed = run(
    'bash',
    [
      '-c',
      'exec 3< "$1"; shift; exec "$@"',
      'test',
      path('closed-file'),
      'setpriv',
      ...AS_NOBODY,
      'bash',
      '-c',
      HANDED,
      String(own.pid),
    ],
    { env: { LC_ALL: 'C' } },
  );
  t.same(handed.trim().split('\n'), [
    `anew: ${DENIED}`,
    'handed: ok',
    `descriptors of the daemon: ${DENIED}`,
    `its environment: ${DENIED}`,
    `its memory: ${DENIED}`,
  ]);
  const commandLine = readFileSync(`/proc/${own.pid}/cmdline`, 'utf8');
  t.notMatch(commandLine, own.access.secretAccessKey, 'everybody may read the command line');
  t.match(readFileSync(`/proc/${own.pid}/coredump_filter`, 'utf8'), /^0+\n$/, 'a core dump holds no memory');

  t.test('the daemon’s own files are closed to them', async t => {
    const files = daemonFiles(own);
    t.ok(files.length > 2);
    for (const each of files) t.equal(statSync(each).mode & 0o077, 0, each);
    const [state, status] = asNobody(
      `${TRY}
      try state ls "$2"
      try status env -i PATH="$PATH" HOME=/ "$3" "$4" status "$1"`,
      [own.dir, join(own.directory, 'state'), ...nobodysProgram(own.directory)],
    );
    t.equal(state, `state: ${DENIED}`);
    t.match(status, /sudo|another user/);
  });
});

t.test('without allow_other nobody else sees the mount, not even root’s own name for it', async t => {
  const mount = await aMount(t);
  writeFileSync(mount.path('file'), 'x');
  chmodSync(mount.path('file'), 0o666);
  const said = asNobody(
    `${TRY}
    try look ls "$1"
    try stat stat "$1"
    try file cat "$1/file"
    try proc cat "/proc/${mount.pid}/cwd/../$1/file"`,
    [mount.dir],
  );
  for (const line of said) t.match(line, /Permission denied|No such file/, line);
});

t.test('what was planted in a place that all may write to is not used', async t => {
  const place = await aPlace(t);
  const open = join(place.directory, 'open');
  mkdirSync(open);
  chmodSync(open, 0o1777);
  const victim = join(place.directory, 'victim');
  writeFileSync(victim, 'precious');
  asNobody('cd "$1"; ln -s "$2" log; mkfifo pipe; mkdir -m 777 state; ln -s "$2" state/log; echo done', [open, victim]);
  const attempts: readonly (readonly [option: string, said: RegExp])[] = [
    [`logfile=${join(open, 'log')}`, /symbolic link of another user/],
    [`logfile=${join(open, 'pipe')}`, /pipe|ENXIO/],
    [`state_dir=${join(open, 'state')}`, /belongs to another user/],
    [`write_back,journal=${join(open, 'state')}`, /belongs to another user/],
  ];
  for (const [option, said] of attempts) {
    const { code, stderr } = await place.run([BUCKET, place.mountPoint, '-o', `${place.options},${option}`]);
    t.match(stderr, said, option);
    t.not(code, 0, option);
  }
  t.notOk(await place.isMounted());
  t.equal(readFileSync(victim, 'utf8'), 'precious');
});

t.test('names that a hostile bucket holds reach no terminal as they are', async t => {
  const name = '\u001b[2J\u009b31m\u202egpj\nline';
  const mount = await aMount(t, { prepare: client => client.put(name, 'x') });
  await mount.s3.addFault('status=403:op=GetObject');
  t.throws(() => readFileSync(mount.path(name)), { code: 'EACCES' });
  writeFileSync(mount.path(`_conflict.host.20260101T000000Z.${name}`), 'y');
  for (const args of [
    ['status', mount.dir],
    ['why', mount.path(name)],
    ['conflicts', mount.dir],
    ['status', '--json', mount.dir],
  ]) {
    const said = run('env', mount.commandLine(args), { codes: [0, 1] });
    t.match(said, /2J/, `${args[0]} tells of it`);
    t.notMatch(said.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u, String(args[0]));
  }
});
