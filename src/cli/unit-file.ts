/** A systemd unit for one mount, as text. Pure: what the machine has is told in `UnitSpec`. */

export interface UnitSpec {
  /** `my-bucket:/prefix`, as on the command line. */
  readonly source: string;
  /** Absolute. */
  readonly mountPoint: string;
  /** The words that start s3mount; the first is absolute. */
  readonly program: readonly string[];
  /** The list after `-o`; may be empty. */
  readonly options: string;
  readonly runsAs: RunsAs;
  /** Absolute; cleans a dead mount away. */
  readonly fusermount: string;
}

export type RunsAs =
  | { readonly kind: 'root' }
  | { readonly kind: 'user'; readonly name: string }
  /** A unit of the user's own service manager. */
  | { readonly kind: 'user-manager' };

/** s; longer than name servers and instance roles take to answer on a box that has just booted. */
const START_LIMIT = 90;
/** s that a drain may take without getting smaller; while it does, the daemon asks for more. */
const STOP_LIMIT = 120;
/**
 * s between an end that was not good and the next start. Short, for programs find an empty directory until then; long enough that starts
 * which fail for ever (each takes 0.3 s of CPU and two or three requests) are no load.
 */
const RESTART_AFTER = 10;

/** `s3mount-home-rstudio-works.service`: named for the place, as systemd's own mount units are. */
export function unitName(mountPoint: string): string {
  return `s3mount-${escapePath(mountPoint)}.service`;
}

/** As systemd-escape(1) --path does it: `/` becomes `-`, what is neither letter, digit, `:`, `_` nor `.` becomes `\xNN`. */
export function escapePath(path: string): string {
  const plain = path.replace(/\/+/g, '/').replace(/^\/|\/$/g, '');
  const escaped = [...Buffer.from(plain)].map((byte, index) => {
    const letter = String.fromCharCode(byte);
    if (letter === '/') return '-';
    if (/[A-Za-z0-9:_]/.test(letter) || (letter === '.' && index > 0)) return letter;
    return `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return escaped.join('') || '-';
}

/** A word of a command line in a unit: quoted where systemd would split or expand it, systemd.service(5). */
export function quoteWord(word: string): string {
  const safe = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  if (/^[A-Za-z0-9_./:=,@+%$-]+$/.test(safe)) return safe;
  return `"${safe.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\t', '\\t')}"`;
}

export function unitFile(spec: UnitSpec): string {
  const { source, mountPoint, program, options, runsAs, fusermount } = spec;
  const command = [...program, source, mountPoint, '-f', ...(options ? ['-o', options] : [])].map(quoteWord).join(' ');
  const ownManager = runsAs.kind === 'user-manager';
  return `${[
    ...introduction(spec),
    '[Unit]',
    `Description=${source.replaceAll('%', '%%')} at ${mountPoint.replaceAll('%', '%%')} (s3mount)`,
    'Documentation=man:s3mount(1)',
    ...(ownManager ? [] : ordering(mountPoint)),
    '# Tried for ever: a network that is down for an hour must not leave the mount away for good.',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    ...identity(runsAs),
    `ExecStart=${command}`,
    '# After a kill -9 the place would answer "Transport endpoint is not connected" until the next start.',
    `ExecStopPost=-${fusermount} -uzq ${quoteWord(mountPoint)}`,
    'Restart=on-failure',
    `RestartSec=${RESTART_AFTER}`,
    '# 1: the options are wrong, 20: ended with unsaved bytes, which lie in the state directory. Trying again mends neither.',
    '# All others are tried again: 12 (forbidden) too, since the policy of a new role is not known everywhere for a minute,',
    '# and 14 (mount point), since somebody may make a home directory, or unmount what lies there.',
    'RestartPreventExitStatus=1 20',
    `TimeoutStartSec=${START_LIMIT}`,
    '# Stopping saves what is unsaved; while that gets on, more time is asked for (systemctl status shows how much is left).',
    `TimeoutStopSec=${STOP_LIMIT}`,
    '# Only the daemon is told to stop: it ends what it started.',
    'KillMode=mixed',
    'LimitNOFILE=65536',
    '# Keys and file contents lie in its memory.',
    'LimitCORE=0',
    'UMask=0077',
    '# Losing it loses what programs have not closed yet; killing one of its readers does not.',
    ...(ownManager ? [] : ['OOMScoreAdjust=-500']),
    ...hardening(runsAs),
    '',
    '[Install]',
    // remote-fs.target comes before logins (systemd-user-sessions.service), as for every network filesystem.
    `WantedBy=${ownManager ? 'default.target' : 'remote-fs.target'}`,
  ].join('\n')}\n`;
}

function introduction({ mountPoint, runsAs, options }: UnitSpec): string[] {
  const name = unitName(mountPoint);
  const others = /(^|,)allow_other(,|$)/.test(options);
  const readers = others
    ? 'Every user of this machine can use it, as far as modes and owners allow (allow_other).'
    : `Only ${runsAs.kind === 'root' ? 'root' : 'that user'} can use it; -o allow_other,umask=0022 lets others read.`;
  switch (runsAs.kind) {
    case 'root':
      return [`# /etc/systemd/system/${name}: runs as root with root's credentials.`, `# ${readers}`];
    case 'user':
      return [
        `# /etc/systemd/system/${name}: runs as ${runsAs.name} with ${runsAs.name}'s credentials.`,
        `# ${readers}`,
      ];
    case 'user-manager':
      return [
        `# ~/.config/systemd/user/${name}: started at the first login, or at boot after: loginctl enable-linger`,
        `# ${readers}`,
      ];
  }
}

function ordering(mountPoint: string): string[] {
  return [
    'Wants=network-online.target',
    'After=network-online.target nss-lookup.target time-sync.target remote-fs-pre.target',
    'Before=remote-fs.target umount.target',
    'Conflicts=umount.target',
    '# What lies above the mount point is there first, and goes after it.',
    `RequiresMountsFor=${quoteWord(mountPoint.replace(/\/[^/]+\/?$/, '') || '/')}`,
  ];
}

function identity(runsAs: RunsAs): string[] {
  switch (runsAs.kind) {
    case 'root':
      return [
        '# systemd sets no HOME for root; ~/.aws and ~/.passwd-s3fs are looked for there.',
        'Environment=HOME=/root',
      ];
    case 'user':
      return [`User=${runsAs.name}`];
    case 'user-manager':
      return [];
  }
}

function hardening(runsAs: RunsAs): string[] {
  const namespaces = [
    '# Left out on purpose, since each gives the unit a mount namespace of its own, in which the mount would be seen by',
    '# nobody else: PrivateTmp, PrivateDevices, PrivateMounts, ProtectSystem, ProtectHome, ProtectKernelTunables,',
    '# ProtectKernelModules, ProtectKernelLogs, ProtectControlGroups, ReadWritePaths, BindPaths, TemporaryFileSystem,',
    '# RootDirectory, MountFlags, DynamicUser. MemoryDenyWriteExecute: Node compiles at run time.',
  ];
  if (runsAs.kind !== 'root') {
    return [
      ...namespaces,
      '# NoNewPrivileges, and what implies it for an ordinary user (SystemCallFilter, SystemCallArchitectures,',
      '# RestrictAddressFamilies, RestrictNamespaces, RestrictRealtime, RestrictSUIDSGID, LockPersonality, ProtectClock,',
      '# ProtectHostname): fusermount3, which mounts for an ordinary user, is setuid.',
    ];
  }
  return [
    ...namespaces,
    '# Root mounts by itself, without the setuid fusermount3.',
    'NoNewPrivileges=yes',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'SystemCallArchitectures=native',
  ];
}
