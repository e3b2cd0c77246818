// Writes docs/MESSAGES.md: every sentence with which the program refuses to start or to go on, by exit code, as it stands in
// the source. Run with the other documents: npm run docs; test/unit/docs.test.ts keeps it current.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EXIT } from '../src/cli/exit-codes.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = file => readFileSync(`${root}${file}`, 'utf8');
const filesOf = directory =>
  readdirSync(`${root}${directory}`)
    .filter(name => name.endsWith('.ts'))
    .map(name => `${directory}/${name}`);

/** What stands for a value that is put in. */
const VALUE = '…';

/** The string or template that begins at `at`, with its values left out, and where it ends. */
function literalAt(text, at) {
  const quote = text[at];
  let said = '';
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === quote) return { said, end: i + 1 };
    if (text[i] === '\\') {
      i++;
      said += text[i] === 'n' ? ' ' : text[i];
    } else if (quote === '`' && text.startsWith('${', i)) {
      i = closing(text, i + 1);
      said += VALUE;
    } else said += text[i];
  }
  throw new Error('a string without end');
}

/** The place of the bracket that closes the one at `at`. */
function closing(text, at) {
  const pairs = { '(': ')', '{': '}', '[': ']' };
  const open = [];
  for (let i = at; i < text.length; i++) {
    if (text[i] === "'" || text[i] === '"' || text[i] === '`') i = literalAt(text, i).end - 1;
    else if (text[i] in pairs) open.push(pairs[text[i]]);
    else if (text[i] === open.at(-1)) {
      open.pop();
      if (open.length === 0) return i;
    }
  }
  throw new Error('a bracket without end');
}

/** The arguments of the call whose bracket is at `at`, as source. */
function argumentsAt(text, at) {
  const end = closing(text, at);
  const found = [];
  let begin = at + 1;
  for (let i = begin; i <= end; i++) {
    if (text[i] === "'" || text[i] === '"' || text[i] === '`') i = literalAt(text, i).end - 1;
    else if (i < end && '({['.includes(text[i])) i = closing(text, i);
    else if (text[i] === ',' || i === end) {
      found.push(text.slice(begin, i).trim());
      begin = i + 1;
    }
  }
  return found.filter(each => each !== '');
}

/** The sentences that an argument can be: one, or each way of a choice. None where it is made elsewhere. */
function sentencesIn(argument) {
  const found = [];
  for (let i = 0; i < argument.length; i++) {
    if (argument[i] !== "'" && argument[i] !== '"' && argument[i] !== '`') continue;
    const { said, end } = literalAt(argument, i);
    found.push(said);
    i = end - 1;
  }
  return found;
}

/** Every call of `name` in a file: its arguments. */
function callsOf(file, name) {
  const text = read(file);
  const calls = [];
  for (const match of text.matchAll(new RegExp(`(?<!function )\\b${name}\\(`, 'g'))) {
    calls.push(argumentsAt(text, match.index + match[0].length - 1));
  }
  return calls;
}

/** Functions of one file that put the beginning before a sentence. */
const BEGINNINGS = [
  ['src/cli/mount-point.ts', 'refusal', EXIT.mountPoint, 'mount point '],
  ['src/cli/passwd-file.ts', 'refusal', EXIT.credentials, 'the credentials file '],
  ['src/s3/open-store.ts', 'cannot', EXIT.usage, `"${VALUE}" is a directory bucket: `],
];

/** Where a mount looks for its bucket: what it finds wrong there is told at the start. */
const AT_START = ['credentials', 'endpoint', 'express-session', 'open-store', 's3-store'];
const EXIT_OF_STORE_ERROR = { invalid: EXIT.usage, forbidden: EXIT.credentials, 'no-such-bucket': EXIT.bucket };

/** Messages by exit code. */
export function messages() {
  const byCode = new Map(Object.values(EXIT).map(code => [code, new Set()]));
  const add = (code, argument, beginning = '') => {
    for (const said of sentencesIn(argument ?? '')) {
      // What is no sentence is a part of one that is put together elsewhere, or its beginning (see BEGINNINGS).
      if (said.length < 12 || BEGINNINGS.some(([, , , begins]) => said === `${begins}${VALUE}`)) continue;
      byCode.get(code).add(`${beginning}${said}`.replace(/^(The|There|A|An|You) /, word => word.toLowerCase()));
    }
  };
  for (const file of filesOf('src/cli')) {
    for (const [argument] of callsOf(file, 'usageError')) add(EXIT.usage, argument);
    for (const [code, argument] of callsOf(file, 'new CliError')) {
      const name = /^EXIT\.(\w+)$/.exec(code ?? '')?.[1];
      if (name !== undefined) add(EXIT[name], argument);
    }
  }
  for (const [file, name, code, beginning] of BEGINNINGS) {
    for (const [argument] of callsOf(file, name)) add(code, argument, beginning);
  }
  const exitOfMountError = new Map(
    [...read('src/cli/failures.ts').matchAll(/^ {2}'?([a-z-]+)'?: EXIT\.(\w+),$/gm)].map(([, code, name]) => [
      code,
      EXIT[name],
    ]),
  );
  for (const file of filesOf('src/fuse')) {
    for (const [code, argument] of callsOf(file, 'new MountError')) {
      const exit = exitOfMountError.get(code?.slice(1, -1));
      if (exit !== undefined) add(exit, argument);
    }
  }
  for (const name of AT_START) {
    for (const [kind, argument] of callsOf(`src/s3/${name}.ts`, 'new StoreError')) {
      add(EXIT_OF_STORE_ERROR[kind?.slice(1, -1)] ?? EXIT.network, argument);
    }
  }
  return byCode;
}

/** What S3's own refusals are told with. */
function adviceTexts() {
  const text = read('src/s3/error-kinds.ts');
  const from = text.indexOf('\nfunction advice(');
  const body = text.slice(from, text.indexOf('\n}\n', from));
  return [...body.matchAll(/return (['"`])/g)].map(match => literalAt(body, match.index + 'return '.length).said);
}

const MEANING = text => text.replace(/^\/\*\* | \*\/$/g, '');

export function messagesMarkdown() {
  const source = read('src/cli/exit-codes.ts');
  const lines = [
    '# Messages',
    '',
    '<!-- Written by scripts/messages-doc.mjs from the source. Change that, then: npm run docs -->',
    '',
    'Each begins with `s3mount: `, is one sentence, stands on stderr (with a unit: in the journal), and says what to do. `…` stands for names and',
    'values. What to look for first: [TROUBLESHOOTING](TROUBLESHOOTING.md).',
    '',
    '## What S3 refuses',
    '',
    'is told as `OPERATION on bucket BUCKET failed: S3 answered STATUS CODE ("its own words")`, and then one of these; exit 10, 11, 12 or 13 by what',
    'it was, and `s3mount why PATH` for what happens later:',
    '',
    ...adviceTexts().map(said => `- ${escaped(said)}`),
  ];
  for (const [name, code] of Object.entries(EXIT)) {
    const said = [...messages().get(code)].sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1));
    if (said.length === 0) continue;
    const [, comment = ''] = new RegExp(`(/\\*\\* [^\\n]* \\*/)\\n  ${name}: ${code},`).exec(source) ?? [];
    lines.push('', `## Exit ${code}`, '', MEANING(comment), '', ...said.map(each => `- ${escaped(each)}`));
  }
  return `${lines.join('\n')}\n`;
}

function escaped(text) {
  return text.replace(/[<>*_[\]|`\\]/g, character => `\\${character}`);
}
