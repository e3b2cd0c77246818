/**
 * The subcommands, in one table: `--help`, the man page and the dispatch in `main` are made from it.
 *
 * Each command lies in a file of its own, loaded when it runs: a mount pays for none of them. A command is known by the first
 * word alone; a bucket of the same name is written `s3://status`.
 */
import { usageError } from './exit-codes.ts';
import type { OptionWord } from './option-words.ts';

/** Where a command writes, and what it was started with. */
export interface CommandOutput {
  /** A line on stdout: what was asked for. */
  print(line: string): void;
  /** A line on stderr: progress, warnings. */
  say(line: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface FlagSpec {
  readonly letter?: string;
  /** What the value is called; a flag without one is on or off. */
  readonly value?: string;
  readonly help: string;
}

export interface CommandArguments {
  readonly positional: readonly string[];
  /** By their names without hyphens in front. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  /** Of a mount's options, where the command takes them. */
  readonly options: readonly OptionWord[];
}

export interface Command {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** Its words as people write them: `[-l] MOUNTPOINT`. */
  readonly usage: string;
  /** What it does, on one line of the help screen: at most 64 columns. */
  readonly summary: string;
  /** The man page's paragraph. */
  readonly text: string;
  readonly flags?: Readonly<Record<string, FlagSpec>>;
  /** It takes the options of a mount too, after -o or as flags. */
  readonly mountOptions?: boolean;
  /** How many words it takes beside its flags. */
  readonly words: readonly [least: number, most: number];
  /** Throws a `CliError`; sets `process.exitCode` where it ends with another code but has nothing to say. */
  run(given: CommandArguments, output: CommandOutput): Promise<void>;
}

export const COMMANDS: readonly Command[] = [
  {
    name: 'umount',
    aliases: ['unmount'],
    usage: '[-l] MOUNTPOINT',
    summary: 'save what is unsaved, then unmount',
    text: 'Saves what is unsaved and unmounts. Refuses while something uses the mount, and names it; with -l it is detached all the same. Meanwhile it shows how much is left to save. SIGINT and SIGTERM do the same to the daemon.',
    flags: { lazy: { letter: 'l', help: 'detach it even while something uses it' } },
    words: [1, 1],
    async run({ positional, flags }) {
      const [{ umountCommand }, { systemClock }] = await Promise.all([
        import('./umount.ts'),
        import('../concurrency.ts'),
      ]);
      await umountCommand(positional[0]!, flags['lazy'] === true, systemClock);
    },
  },
  {
    name: 'status',
    usage: '[-w] [MOUNT]',
    summary: 'what is mounted, unsaved, asked, paid',
    text: 'Tells of a mount, or of all of yours (for root: of all): since when, what is unsaved and why, memory and cache, requests to S3 by kind with an estimate of their cost, what this store can do, where state lies, which processes use it, what failed last. MOUNT may be any path in it.',
    flags: {
      watch: { letter: 'w', help: 'again every 2 s, with rates' },
      json: { help: 'for programs: docs/OPERATIONS.md has the fields' },
    },
    words: [0, 1],
    async run({ positional, flags }, output) {
      const { statusCommand } = await import('./status.ts');
      await statusCommand(positional[0], { json: flags['json'] === true, watch: flags['watch'] === true }, output);
    },
  },
  {
    name: 'why',
    usage: 'PATH',
    summary: 'why something failed, in plain words',
    text: 'Explains the last failures of a path: the operation, what S3 answered with its request id, and the cause: the IAM action that is missing, the KMS key, the archive. Where nothing failed, it says who may read and write the path.',
    words: [1, 1],
    async run({ positional }, output) {
      const { whyCommand } = await import('./why.ts');
      await whyCommand(positional[0]!, output);
    },
  },
  {
    name: 'flush',
    usage: '[PATH]',
    summary: 'save what is unsaved now, and wait',
    text: 'Saves what is unsaved of a file, below a directory, in a mount, or (without PATH) in all of your mounts, waits until S3 has it, and ends with 20 if some of it could not be saved. Saves that failed for good are tried again.',
    words: [0, 1],
    async run({ positional }, output) {
      const { flushCommand } = await import('./flush.ts');
      await flushCommand(positional[0], output);
    },
  },
  {
    name: 'warm',
    usage: 'PATH...',
    summary: 'read files ahead into the cache',
    text: 'Reads files, and all files below directories, through the mount, so that they lie in its cache when they are wanted. Shows how far it is, and says so beforehand where the cache cannot keep all of it.',
    words: [1, 10_000],
    async run({ positional }, output) {
      const { warmCommand } = await import('./warm.ts');
      await warmCommand(positional, output);
    },
  },
  {
    name: 'conflicts',
    usage: '[DIRECTORY | BUCKET[:/path] [-o ...]]',
    summary: 'files that two clients changed, and how to keep either',
    text: 'Lists conflict copies (_conflict.HOST.TIME.NAME, made where a save met what another client had written meanwhile) below a directory of a mount, without one below the current directory, or in a bucket: both names, sizes and times, and the command that keeps the one or the other.',
    mountOptions: true,
    words: [0, 1],
    async run({ positional, options }, output) {
      const { conflictsCommand } = await import('./conflicts.ts');
      await conflictsCommand(positional, options, output);
    },
  },
  {
    name: 'restore',
    usage: '[--days=N] [--tier=TIER] FILE...',
    summary: 'bring files back from Glacier, or show how it stands',
    text: 'Asks S3 for readable copies of files in an archive (Glacier Flexible Retrieval, Deep Archive, archive tiers of Intelligent-Tiering) and shows how it stands. Until a copy is there, reading fails with EACCES. Minutes (Expedited), hours (Standard) or up to two days (Bulk); S3 charges for it.',
    flags: {
      days: { value: 'N', help: 'how long the copy stays (7)' },
      tier: { value: 'TIER', help: 'Standard, Bulk or Expedited (Standard)' },
      show: { help: 'only show how it stands' },
    },
    words: [1, 10_000],
    async run({ positional, flags }, output) {
      const { restoreCommand } = await import('./restore.ts');
      await restoreCommand(positional, flags, output);
    },
  },
  {
    name: 'unit',
    usage: 'BUCKET MOUNTPOINT [-o ...] | NAME',
    summary: 'print or install a systemd unit that mounts at boot',
    text: "Prints a systemd unit for the mount (or for the one that NAME.toml describes), or installs and starts it. As root it is a unit of the system: with --user it runs as that user with that user's credentials, and writes allow_other, umask=0022, uid and gid unless they are given. As an ordinary user it is a unit of that user's own service manager.",
    flags: {
      user: { value: 'NAME', help: 'who runs it' },
      install: { help: 'write it where systemd looks, make the mount point, start it, now and at each boot' },
    },
    mountOptions: true,
    words: [1, 2],
    async run({ positional, flags, options }, output) {
      const { unitCommand } = await import('./unit.ts');
      const user = flags['user'] as string | undefined;
      await unitCommand({ mount: { positional, words: options }, user, install: flags['install'] === true }, output);
    },
  },
  {
    name: 'doctor',
    usage: '[BUCKET] [-o ...] | --translate LINE',
    summary: 'find what keeps a mount from working, try a bucket',
    text: "Looks at the machine (kernel, /dev/fuse, fusermount3, fuse.conf, limits, disk) and, with a bucket, tries it with the options given: credentials and where they come from, region, clock, each right that a mount needs on keys of its own below _s3mount/ that are removed again, the bucket's settings, latency. One line for each finding: ok, warn, or fail with what to do. The exit code is that of the first failure. --translate prints a command or fstab line of s3fs, goofys or mount-s3 in the words of s3mount.",
    flags: { translate: { value: 'LINE', help: 'a command or fstab line of s3fs, goofys or mount-s3' } },
    mountOptions: true,
    words: [0, 2],
    async run({ positional, flags, options }, output) {
      const line = flags['translate'] as string | undefined;
      if (line !== undefined) {
        const { translate } = await import('./translate.ts');
        const translated = translate(line);
        output.print(translated.line);
        for (const note of translated.notes) output.say(`s3mount: ${note}`);
        return;
      }
      const { doctorCommand } = await import('./doctor.ts');
      await doctorCommand(positional, options, output);
    },
  },
  {
    name: 'iam-policy',
    usage: 'BUCKET[:/path] [--read-only] [--prefix P] [--kms KEY]',
    summary: 'print the least IAM policy for a mount',
    text: 'Prints the least IAM policy with which the bucket, or what lies below a prefix of it, can be mounted; no action in it can be left out. For objects that are encrypted by a key of KMS name that key.',
    flags: {
      'read-only': { help: 'for a mount with -o ro' },
      prefix: { value: 'P', help: 'only below this prefix' },
      kms: { value: 'KEY', help: 'ARN or ID of the key of KMS' },
      acl: { help: 'default_acl= is used' },
      restore: { help: 'archived objects are restored (s3mount restore)' },
      partition: { value: 'NAME', help: 'aws, aws-cn or aws-us-gov (aws)' },
    },
    words: [1, 1],
    async run({ positional, flags }, { print }) {
      const { iamPolicy, policyText } = await import('./iam-policy.ts');
      const text = (name: string): string | undefined => flags[name] as string | undefined;
      const document = iamPolicy({
        source: positional[0]!,
        readOnly: flags['read-only'] === true,
        prefix: text('prefix'),
        kms: text('kms'),
        partition: text('partition'),
        acl: flags['acl'] === true,
        restore: flags['restore'] === true,
      });
      print(policyText(document));
    },
  },
  {
    name: 'completion',
    usage: 'bash|zsh|fish',
    summary: 'print completion for a shell: eval "$(s3mount completion bash)"',
    text: 'Prints what completes commands and options in a shell. The packages of distributions install it.',
    words: [1, 1],
    async run({ positional }, { print }) {
      const { completionScript, SHELLS } = await import('./completion.ts');
      const shell = SHELLS.find(name => name === positional[0]);
      if (!shell) throw usageError(`there is no completion for '${positional[0]}'; write ${SHELLS.join(', ')}.`);
      print(completionScript(shell).trimEnd());
    },
  },
  {
    name: 'options',
    usage: '',
    summary: 'list all options, with their variables',
    text: 'Lists all options with their variables.',
    words: [0, 0],
    async run(_, { print }) {
      const { optionList } = await import('./help.ts');
      print(optionList());
    },
  },
];

export function findCommand(word: string | undefined): Command | undefined {
  return COMMANDS.find(({ name, aliases = [] }) => name === word || aliases.includes(word ?? ''));
}

/** `s3mount umount [-l] MOUNTPOINT` */
export function usageOf({ name, usage }: Command): string {
  return `s3mount ${name} ${usage}`.trimEnd();
}

export function commandHelp(command: Command): string {
  const { flags = {}, text } = command;
  const lines = Object.entries(flags).map(([name, { letter, value, help }]) => {
    const left = `${letter ? `-${letter}, ` : ''}--${name}${value ? `=${value}` : ''}`;
    return `  ${left.padEnd(24)} ${help}`;
  });
  return [`Usage: ${usageOf(command)}`, '', text, ...(lines.length > 0 ? ['', ...lines] : [])].join('\n');
}
