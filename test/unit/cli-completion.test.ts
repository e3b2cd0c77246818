import { spawnSync } from 'node:child_process';
import t from 'tap';
import { COMMANDS } from '../../src/cli/commands.ts';
import { completionScript, SHELLS } from '../../src/cli/completion.ts';
import { flagName, OPTION_NAMES } from '../../src/cli/option-table.ts';

t.test('every shell knows every command and every option', async t => {
  for (const shell of SHELLS) {
    const script = completionScript(shell);
    for (const { name } of COMMANDS) t.match(script, name, `${shell}: ${name}`);
    const word = (name: (typeof OPTION_NAMES)[number]): string => (shell === 'zsh' ? `'${name}[` : flagName(name));
    for (const name of OPTION_NAMES) t.ok(script.includes(word(name)), `${shell}: ${name}`);
  }
});

/** What bash offers for the last of `words`. */
function offered(...words: string[]): string[] {
  const line = `${completionScript('bash')}
compopt() { :; }
COMP_WORDS=(s3mount ${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
_s3mount && printf '%s\\n' "\${COMPREPLY[@]}"`;
  // --norc: started over a socket, bash takes itself for a remote login and reads the machine's bashrc.
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-u', '-c', line], { encoding: 'utf8', cwd: '/' });
  t.equal(stderr, '');
  return stdout.split('\n').filter(Boolean);
}

t.test('bash', async t => {
  t.same(offered('uni'), ['unit']);
  t.same(offered('umount', '--l'), ['--lazy']);
  t.same(offered('b', '/mnt', '-o', 'allow_o'), ['allow_other']);
  t.same(offered('b', '/mnt', '-o', 'ro,umas'), ['ro,umask=']);
  t.same(offered('b', '/mnt', '-oro,umas'), ['-oro,umask=']);
  t.same(offered('b', '/mnt', '--allow-o'), ['--allow-other']);
  t.ok(offered('b', '/us').includes('/usr'));
});
