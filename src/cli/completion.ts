/** Completion for shells, made from the tables of commands and options. Pure. */
import { COMMANDS } from './commands.ts';
import { flagName, OPTION_NAMES, specOf } from './option-table.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const names = (): string[] => COMMANDS.map(({ name }) => name);

/** What may follow `-o` and commas: `ro`, `umask=`. */
const mountWords = (): string[] => OPTION_NAMES.map(name => (specOf(name).kind.optional ? name : `${name}=`));

const flagsOf = (command: string): string[] => [
  '--help',
  ...Object.entries(COMMANDS.find(({ name }) => name === command)?.flags ?? {}).map(
    ([flag, { value }]) => `--${flag}${value === undefined ? '' : '='}`,
  ),
];

export function completionScript(shell: Shell): string {
  switch (shell) {
    case 'bash':
      return bash();
    case 'zsh':
      return zsh();
    case 'fish':
      return fish();
  }
}

function bash(): string {
  const cases = names().map(name => `    ${name}) flags='${flagsOf(name).join(' ')}' ;;`);
  return `# bash completion for s3mount
_s3mount() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} flags=
  COMPREPLY=()
  if [[ $before == -o || $word == -o?* ]]; then
    # Words of the list are completed one by one, behind what stands before the last comma.
    local list=\${word#-o} head=
    [[ $list == *,* ]] && head=\${list%,*},
    [[ $word == -o?* ]] && head=-o$head
    COMPREPLY=($(compgen -P "$head" -W '${mountWords().join(' ')}' -- "\${list##*,}"))
    compopt -o nospace
    return
  fi
  if ((COMP_CWORD == 1)) && [[ $word != -* ]]; then
    COMPREPLY=($(compgen -W '${names().join(' ')}' -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
    *) flags='--help --version --foreground ${OPTION_NAMES.map(name => `--${flagName(name)}`).join(' ')}' ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
    if [[ \${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
  else
    COMPREPLY=($(compgen -d -- "$word"))
    compopt -o filenames
  fi
}
complete -F _s3mount s3mount
`;
}

/** For `'…'` in zsh and fish; colons separate a word from its description in zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(): string {
  const commands = COMMANDS.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}`);
  const words = OPTION_NAMES.map(name => {
    const { kind, help } = specOf(name);
    const text = help.replace(/[[\]:]/g, ' ');
    return `    ${quoted(`${name}[${text}]${kind.optional ? '' : ':value:'}`)}`;
  });
  const cases = names().map(
    name => `    ${name}) _arguments ${flagsOf(name).map(quoted).join(' ')} '*:directory:_files -/' ;;`,
  );
  return `#compdef s3mount
_s3mount() {
  local -a commands mount_words
  commands=(
${commands.join('\n')}
  )
  mount_words=(
${words.join('\n')}
  )
  if ((CURRENT == 2)) && [[ $PREFIX != -* ]]; then
    _describe -t commands command commands
    return
  fi
  case $words[2] in
${cases.join('\n')}
    *) _arguments '-f[stay in the foreground]' '-o[options of the mount]:option:_values -s , option $mount_words' '*:directory:_files -/' ;;
  esac
}
if [[ $funcstack[1] == _s3mount ]]; then _s3mount "$@"; else compdef _s3mount s3mount; fi
`;
}

function fish(): string {
  const first = '__fish_use_subcommand';
  const lines = COMMANDS.flatMap(({ name, summary, flags = {} }) => [
    `complete -c s3mount -n ${first} -f -a ${name} -d ${quoted(summary)}`,
    ...Object.entries(flags).map(([flag, { letter, value, help }]) => {
      const short = letter === undefined ? '' : ` -s ${letter}`;
      return `complete -c s3mount -n '__fish_seen_subcommand_from ${name}' -l ${flag}${short}${value ? ' -r' : ''} -d ${quoted(help)}`;
    }),
  ]);
  const options = OPTION_NAMES.map(name => {
    const { kind, letter, help } = specOf(name);
    const short = letter === undefined ? '' : ` -s ${letter}`;
    return `complete -c s3mount -n ${first} -l ${flagName(name)}${short}${kind.optional ? '' : ' -r'} -d ${quoted(help)}`;
  });
  return `# fish completion for s3mount
${lines.join('\n')}
${options.join('\n')}
complete -c s3mount -n ${first} -s o -r -d 'options of the mount' -a '(__fish_append , ${mountWords().join(' ')})'
`;
}
