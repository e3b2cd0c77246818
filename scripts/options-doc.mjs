// Writes docs/OPTIONS.md and docs/s3mount.1 from the option table, the words of other programs and the exit codes, and
// docs/MESSAGES.md from the messages in the source:
//   node --import tsx scripts/options-doc.mjs [--check]
// With --check nothing is written: it ends with 1 if a file is not what would be written (test/unit/docs.test.ts).
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { COMMANDS } from '../src/cli/commands.ts';
import { EXIT } from '../src/cli/exit-codes.ts';
import { LEGACY_NAMES, legacyWord, REFUSED_NAMES } from '../src/cli/legacy-options.ts';
import { environmentName, flagName, OPTION_NAMES, SECTIONS, specOf } from '../src/cli/option-table.ts';
import { messagesMarkdown } from './messages-doc.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
/** `## 0.1.0 (2026-11-21)`: the man page's date is that of the release. */
const [, released] = /^## \S+ \((\d{4}-\d{2}-\d{2})\)$/m.exec(readFileSync(`${root}CHANGELOG.md`, 'utf8'));

const SECTION_TEXT = {
  Access: 'Who may use the mount, and which modes and owners are shown.',
  S3: 'Where the bucket is, who asks, and what is written with each object.',
  Freshness: "How soon other clients' changes are seen.",
  Semantics: 'What the filesystem shows and stores.',
  Resources: 'Memory, connections, places on disk.',
  Daemon: 'The process itself.',
};

const optionsOf = section => OPTION_NAMES.filter(name => specOf(name).section === section);

/** `umask=OCTAL`, `use_sse[=1|kmsid[:ID]]`, `ro`. */
function spelling(name) {
  const { kind } = specOf(name);
  if (kind.placeholder === '') return name;
  return kind.optional ? `${name}[=${kind.placeholder}]` : `${name}=${kind.placeholder}`;
}

function sentence(name) {
  const { help, noEffect } = specOf(name);
  const text = `${help.startsWith('http') ? help : help[0].toUpperCase() + help.slice(1)}.`;
  return noEffect ? `${text} It ${noEffect}` : text;
}

/** Every exit code with the comment that stands above it in the source. */
function exitCodes() {
  const source = readFileSync(`${root}src/cli/exit-codes.ts`, 'utf8');
  return Object.entries(EXIT).map(([name, code]) => {
    const [, comment] = new RegExp(`/\\*\\* ([^\\n]*) \\*/\\n  ${name}: ${code},`).exec(source);
    return { code, comment };
  });
}

/** The words of other programs by what becomes of them. */
function otherWords() {
  const byKind = { silent: [], kernel: [], means: [], warning: [], refused: [] };
  for (const name of new Set([...LEGACY_NAMES, ...REFUSED_NAMES])) {
    const word = legacyWord(name);
    byKind[word.kind].push({ name, message: word.message?.slice(name.length + 1), stands: word.word });
  }
  return byKind;
}

const cell = text => text.replaceAll('|', '\\|');

function markdown() {
  const lines = [
    '# Options',
    '',
    '<!-- Written by scripts/options-doc.mjs from src/cli/option-table.ts. Change that, then: npm run docs -->',
    '',
    'Each is written after `-o`, in a list with commas (`-o allow_other,umask=0022`, `-oro`, several `-o`), or as a flag with',
    'hyphens (`--allow-other --umask=0022`), or as a variable (`S3MOUNT_UMASK=0022`), or in a',
    '[configuration file](#configuration-files). The command line goes before the environment, that before the file; of two spellings on the command line the later wins. A comma inside a value is written `\\,`.',
    'Times are in seconds, sizes in bytes or with a unit (`64MiB`, `100GB`). A switch is turned off by `=0`.',
    '',
    `s3mount ${version}; \`s3mount options\` prints the same list.`,
  ];
  for (const section of SECTIONS) {
    lines.push(
      '',
      `## ${section}`,
      '',
      SECTION_TEXT[section],
      '',
      '| option | what it does | variable |',
      '|---|---|---|',
    );
    for (const name of optionsOf(section)) {
      const { aliases = [], letter } = specOf(name);
      const also = [...(letter ? [`-${letter}`] : []), ...aliases].map(word => `\`${word}\``);
      const names = `\`${cell(spelling(name))}\`${also.length > 0 ? `, ${also.join(', ')}` : ''}`;
      lines.push(`| ${names} | ${cell(sentence(name))} | \`${environmentName(name)}\` |`);
    }
  }
  const words = otherWords();
  const list = found => found.map(({ name }) => `\`${name}\``).join(', ');
  lines.push(
    '',
    '## Configuration files',
    '',
    '`s3mount NAME` reads `~/.config/s3mount/NAME.toml`, or else `/etc/s3mount/NAME.toml`; so does `s3mount BUCKET DIR` where the bucket',
    'has that name; `config=FILE` names another. Besides the options above it may give `bucket` and `mountpoint`:',
    '',
    '```toml',
    'bucket = "victor-seoul:/team"',
    'mountpoint = "/home/rstudio/works"',
    'allow_other = true',
    'umask = "0022"       # octal numbers are texts',
    'stat_cache_expire = 30',
    '```',
    '',
    'It must belong to root or to you and be writable by its owner only. Secrets in it are refused: it names a `passwd_file` or a `profile`.',
    '',
    '## Names of the program',
    '',
    '- Called as `s3fs` (a link to it) it takes the command line of s3fs, and the mount shows up as `s3fs` and `fuse.s3fs`.',
    '- Called as `mount.fuse.s3mount`, `mount.s3mount` or `mount.fuse.s3fs` (links in `/sbin`) it is the helper of mount(8), for lines of',
    '  `/etc/fstab` of these types. `BUCKET DIR fuse.s3fs …` and `s3fs#BUCKET DIR fuse …` go on working unchanged.',
    '',
    '## Words of mount(8), libfuse and s3fs',
    '',
    'What was written for them should go on working; a word that does nothing here says so in one line.',
    '',
    `- Left to mount(8) and systemd, without a word: ${list(words.silent)} and every \`x-…\`.`,
    `- Given to the kernel: ${list(words.kernel)} and the other flags of mount(8).`,
    ...words.means.map(({ name, stands }) => `- \`${name}\` stands for \`${stands}\`.`),
    '- Taken, with a line that says why nothing comes of it:',
    '',
    '| word | it |',
    '|---|---|',
    ...words.warning.map(({ name, message }) => `| \`${name}\` | ${cell(message)} |`),
    '',
    'Refused, since taking them would change what is stored or who may see it:',
    '',
    '| word | it |',
    '|---|---|',
    ...words.refused.map(({ name, message }) => `| \`${name}\` | ${cell(message)} |`),
    '',
    '## Exit codes',
    '',
    '| code | meaning |',
    '|---|---|',
    ...exitCodes().map(({ code, comment }) => `| ${code} | ${cell(comment)} |`),
    '',
    '## Variables of others that are read',
    '',
    '`AWS_CA_BUNDLE` (certificates to trust), `NODE_EXTRA_CA_CERTS` (likewise, by Node itself), and all that the chain of',
    'credentials of the AWS SDK reads: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`,',
    '`AWS_REGION`, `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, …',
    '',
  );
  return lines.join('\n');
}

/** Text for troff: backslashes and hyphens that a program must find again, and no line that begins like a request. */
function roff(text) {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');
}

function manPage() {
  const lines = [
    '.\\" Written by scripts/options-doc.mjs; do not edit.',
    `.TH S3MOUNT 1 "${released}" "s3mount ${version}" "User Commands"`,
    '.SH NAME',
    's3mount \\- mount an S3 bucket as a filesystem',
    '.SH SYNOPSIS',
    '.B s3mount',
    '.IR BUCKET [:/ PATH ]',
    '.I MOUNTPOINT',
    '.RB [ \\-f ]',
    '.RB [ \\-o',
    '.IR option [, option = value ]...]',
    ...COMMANDS.flatMap(({ name, usage }) => ['.br', `.B s3mount ${name}`, ...(usage ? [roff(usage)] : [])]),
    '.SH DESCRIPTION',
    roff(
      'Mounts a bucket, or what lies under a prefix of it, as a directory. Every file stays one plain object that any S3 tool reads. The command returns when the mount answers.',
    ),
    '.PP',
    roff('The bucket may be written as my-bucket, my-bucket:/some/prefix, or s3://my-bucket/some/prefix/.'),
    roff('Credentials are found as the AWS CLI finds them; the region too, and if it is not said, S3 is asked for it.'),
    '.SH COMMANDS',
    ...COMMANDS.flatMap(({ name, usage, text, flags = {} }) => [
      '.TP',
      `.B ${roff(`${name} ${usage}`.trimEnd())}`,
      roff(text),
      ...Object.entries(flags).flatMap(([flag, { letter, value, help }]) => [
        '.br',
        roff(`${letter ? `-${letter}, ` : ''}--${flag}${value ? `=${value}` : ''}: ${help}.`),
      ]),
    ]),
    '.SH OPTIONS',
    roff('Each is written after -o, or as a flag with hyphens (--use-path-request-style), or as a variable.'),
  ];
  for (const section of SECTIONS) {
    lines.push(`.SS ${section}`, roff(SECTION_TEXT[section]));
    for (const name of optionsOf(section)) {
      const { aliases = [], letter } = specOf(name);
      const also = [...(letter ? [`-${letter}`] : []), ...aliases];
      lines.push('.TP', `.B ${roff(spelling(name))}${also.length > 0 ? roff(` (${also.join(', ')})`) : ''}`);
      lines.push(`${roff(sentence(name))}`);
    }
  }
  lines.push('.SH EXIT STATUS');
  for (const { code, comment } of exitCodes()) lines.push('.TP', `.B ${code}`, roff(comment));
  lines.push(
    '.SH ENVIRONMENT',
    '.TP',
    `.B ${roff(environmentName(OPTION_NAMES[0]))}, ...`,
    roff(`Every option, such as --${flagName('allow_other')}, by its variable; the command line goes before it.`),
    '.TP',
    '.B AWS_CA_BUNDLE, AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, ...',
    roff('As for the AWS CLI.'),
    '.SH FILES',
    '.TP',
    '.B /var/lib/s3mount, ~/.local/state/s3mount',
    roff('Logs and spooled bytes, of root and of other users (state_dir).'),
    '.TP',
    '.B ~/.aws/config, ~/.aws/credentials',
    roff('Profiles, keys, region.'),
    '.TP',
    '.B /etc/fuse.conf',
    roff('Must say user_allow_other where an ordinary user mounts with allow_other.'),
    '.SH EXAMPLES',
    '.nf',
    roff('s3mount my-bucket ~/works -o allow_other,umask=0022'),
    roff('s3mount s3://my-bucket/some/prefix/ ~/works -o ro,profile=work'),
    roff('s3mount my-bucket ~/works -o url=http://127.0.0.1:9000,use_path_request_style'),
    roff('s3mount umount ~/works'),
    '.fi',
    '.SH SEE ALSO',
    '.BR fusermount3 (1),',
    '.BR mount (8),',
    '.BR fuse (4)',
    '.PP',
    roff('What holds and what does not: docs/SEMANTICS.md.'),
    '',
  );
  return lines.join('\n');
}

let current = true;
for (const [file, text] of [
  ['docs/OPTIONS.md', markdown()],
  ['docs/s3mount.1', manPage()],
  ['docs/MESSAGES.md', messagesMarkdown()],
]) {
  if (!process.argv.includes('--check')) writeFileSync(root + file, text);
  else if (readFileSync(root + file, 'utf8') !== text) {
    console.log(`${file} is not current; npm run docs writes it`);
    current = false;
  }
}
process.exitCode = current ? 0 : 1;
