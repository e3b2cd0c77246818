import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { readConfig } from '../../src/cli/options.ts';
import { shellWords, translate } from '../../src/cli/translate.ts';

const CASES: readonly (readonly [string, string, ...RegExp[]])[] = [
  [
    's3fs my-bucket /mnt/s3 -o passwd_file=/etc/passwd-s3fs -ourl=https://s3.example.com,use_path_request_style -o umask=0022',
    's3mount my-bucket /mnt/s3 -o passwd_file=/etc/passwd-s3fs,url=https://s3.example.com,use_path_request_style,umask=0022',
  ],
  [
    "sudo AWSACCESSKEYID=x /usr/bin/s3fs 'my-bucket:/a b' /mnt -f -s -d -o nocopyapi,allow_other",
    "sudo AWSACCESSKEYID=x s3mount 'my-bucket:/a b' /mnt -o foreground,debug,allow_other",
    /^-s is left out/,
    /nocopyapi changes nothing/,
  ],
  ['sudo -u www-data -E /usr/bin/s3fs works /mnt -o ro', 'sudo -u www-data -E s3mount works /mnt -o ro'],
  ['exec /usr/bin/env AWS_PROFILE=a s3fs works /mnt', 'exec /usr/bin/env AWS_PROFILE=a s3mount works /mnt'],
  ['s3fs /mnt -o bucket=works,ro', 's3mount works /mnt -o ro'],
  ['s3fs works /mnt -o blubber', 's3mount works /mnt', /blubber is not known/],
  ['s3fs works /mnt -o use_rrs', 's3mount works /mnt -o use_rrs'],
  [
    's3fs#works /mnt/s3 fuse _netdev,allow_other,umask=0022,nonempty 0 0',
    'works  /mnt/s3  fuse.s3mount  _netdev,allow_other,umask=0022,nonempty  0  0',
  ],
  [
    'works:/sub /mnt/s3 fuse.s3fs nofail,x-systemd.automount,noexec,passwd_file=/root/keys,multireq_max=5 0 2',
    'works:/sub  /mnt/s3  fuse.s3mount  nofail,x-systemd.automount,noexec,passwd_file=/root/keys,multireq_max=5  0  2',
  ],
  ['works /mnt/s3 fuse.s3fs defaults', 'works  /mnt/s3  fuse.s3mount  defaults  0  0'],
  [
    'goofys --region eu-west-1 --profile=work --stat-cache-ttl 1m30s --type-cache-ttl 1m --uid 1000 --file-mode=0600 -o allow_other works:pre/fix /mnt',
    's3mount works:pre/fix /mnt -o region=eu-west-1,profile=work,stat_cache_expire=90,uid=1000,file_mode=0600,allow_other,dir_mode=0755',
    /type-cache-ttl/,
  ],
  [
    'goofys#works /mnt fuse _netdev,allow_other,--file-mode=0666,--endpoint=http://minio:9000 0 0',
    'works  /mnt  fuse.s3mount  _netdev,file_mode=0666,url=http://minio:9000,dir_mode=0755,allow_other  0  0',
  ],
  ['goofys --sse-c SECRET works /mnt', 's3mount works /mnt -o file_mode=0644,dir_mode=0755', /held the key itself/],
  [
    'mount-s3 works /mnt --prefix a/b/ --read-only --allow-delete --metadata-ttl indefinite --cache /var/c --max-cache-size 512 --sse aws:kms --sse-kms-key-id KEY',
    's3mount works:/a/b /mnt -o ro,stat_cache_expire=31536000,use_cache=/var/c,cache_size=512MiB,use_sse=kmsid:KEY,file_mode=0644,dir_mode=0755',
    /allow-delete/,
  ],
  [
    'mount-s3 --no-sign-request works /mnt --what',
    's3mount works /mnt -o public_bucket,file_mode=0644,dir_mode=0755',
    /--what/,
  ],
];

t.test('what the others are told, in our words', async t => {
  for (const [given, expected, ...notes] of CASES) {
    const found = translate(given);
    // The order of fstab's words does not matter; that of the two that goofys adds neither.
    const sorted = (line: string): string =>
      line.replace(/(?<=-o |s3mount {2})\S+/, list => list.split(',').sort().join());
    t.equal(sorted(found.line), sorted(expected), given);
    t.equal(found.notes.length, notes.length, found.notes.join(' '));
    notes.forEach((note, index) => void t.match(found.notes[index], note));
  }
});

t.test('what comes out is understood', async t => {
  for (const [given] of CASES) {
    const words = shellWords(translate(given).line);
    const program = words.indexOf('s3mount');
    const args = program < 0 ? [words[0]!, words[1]!, '-o', words[3]!] : words.slice(program + 1);
    const line = readCommandLine(args);
    if (line.kind !== 'mount') throw new Error(given);
    const { warnings } = readConfig(line.given, { env: {}, cwd: '/' });
    t.same(warnings, [], given);
  }
});

t.test('words of a shell', async t => {
  t.same(shellWords(`a 'b c' "d \\" e" f\\ g ''`), ['a', 'b c', 'd " e', 'f g', '']);
});

t.test('neither', async t => {
  for (const text of ['', 'ls -l', 'UUID=x / ext4 defaults 0 1']) {
    t.throws(() => translate(text), { exitCode: 1, message: /no command of s3fs/ });
  }
});
