/**
 * A Debian that has no Node: the package is installed, the unit too, and the machine is booted, rebooted and powered off.
 * The checks inside are made by services of their own, as two users that are not the mount's.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Machine } from '../support/machine.ts';
import { run } from '../support/processes.ts';
import { EmbeddedChild } from '../support/s3-child.ts';
import { ForeignClient } from '../support/s3-client.ts';

const BUCKET = 'works-bucket';
const PLACE = '/home/rstudio/works';
const UNIT = 's3mount-home-rstudio-works.service';
/** Of another user, by that user's own service manager. */
const OWN = '/home/third/own';
const OWN_UNIT = 's3mount-home-third-own.service';
/** ms for each of two boots and what happens in it; a quiet machine needs 15 s for both. */
const LIMIT = 240_000;

/** Appends `NAME: what the command says` to a log that is read from outside afterwards. */
const check = (url: string): string => `#!/bin/sh
exec 2>&1
say() { name=$1; shift; echo "$name: $("$@" 2>&1 | tail -1)" >> /check/log; }
as() { user=$1; shift; runuser -u "$user" -- "$@"; }
# Until that succeeds, or two minutes have gone by: then what comes next tells.
await() { for i in $(seq 1200); do "$@" > /dev/null && return; sleep 0.1; done; }
boot=$(cat /check/boots 2>/dev/null || echo 1)
echo $((boot + 1)) > /check/boots
case $boot in
  1)
    say install s3mount unit ${BUCKET} ${PLACE} --user rstudio --install -o url=${url},use_path_request_style
    say state systemctl is-active ${UNIT}
    say status systemctl show -p StatusText --value ${UNIT}
    journalctl -u ${UNIT} -o cat -n 20 > /check/journal
    loginctl enable-linger third
    own() { as third env XDG_RUNTIME_DIR=/run/user/$(id -u third) "$@"; }
    started() { case $(own systemctl --user is-system-running --wait) in running | degraded) ;; *) false ;; esac; }
    await started
    say own-install own s3mount unit ${BUCKET} ${OWN} --install -o url=${url},use_path_request_style
    say own-state own systemctl --user is-active ${OWN_UNIT}
    say write as rstudio sh -c 'echo first boot > ${PLACE}/notes.txt && echo written'
    systemctl reboot
    ;;
  2)
    # No login, no shell of rstudio's: the boot alone has mounted it, before this service was started.
    say mounted findmnt -no SOURCE,FSTYPE ${PLACE}
    # With nofail the boot does not wait for it.
    await findmnt /mnt/fstab
    say fstab findmnt -no SOURCE,FSTYPE /mnt/fstab
    say fstab-third as third cat /mnt/fstab/notes.txt
    await findmnt ${OWN}
    say own findmnt -no SOURCE,FSTYPE ${OWN}
    say own-read as third cat ${OWN}/notes.txt
    say own-others as rstudio cat ${OWN}/notes.txt
    say own-write as third sh -c 'echo theirs > ${OWN}/own.txt && cat ${OWN}/own.txt'
    say auto-before findmnt -no FSTYPE -t fuse.s3mount /mnt/auto
    say auto timeout 120 runuser -u third -- cat /mnt/auto/notes.txt
    say auto-type findmnt -no FSTYPE -t fuse.s3mount /mnt/auto
    say owner as rstudio stat -c %U:%G:%a ${PLACE}/notes.txt
    say rstudio as rstudio cat ${PLACE}/notes.txt
    say third as third cat ${PLACE}/notes.txt
    say third-writes as third sh -c 'echo x > ${PLACE}/third.txt'
    pid=$(systemctl show -p MainPID --value ${UNIT})
    test "$pid" -gt 1 && kill -9 "$pid"
    another() { test "$(systemctl show -p MainPID --value ${UNIT})" != "$pid"; }
    await another
    await systemctl is-active -q ${UNIT}
    say healed as third cat ${PLACE}/notes.txt
    # A program holds a file that is not saved yet while the machine goes down.
    systemd-run -q --unit=writer --uid=rstudio sh -c 'exec 3> ${PLACE}/unsaved.txt; echo kept >&3; touch /tmp/written; exec sleep 1000'
    await test -e /tmp/written
    say unsaved as third cat ${PLACE}/unsaved.txt
    systemctl poweroff
    ;;
esac
`;

t.test('installed, booted, rebooted, powered off', async t => {
  const packages = mkdtempSync(join(tmpdir(), 's3mount-boot-'));
  t.teardown(() => rmSync(packages, { recursive: true, force: true }));
  const script = fileURLToPath(new URL('../../scripts/packages.mjs', import.meta.url));
  run(process.execPath, [script, `--arch=${process.arch}`, '--format=deb', '--quick', `--out=${packages}`]);
  const [file] = readdirSync(packages);

  const server = await EmbeddedChild.start({ buckets: [BUCKET] });
  t.teardown(() => server.stop());
  const machine = new Machine();
  t.teardown(() => machine.destroy());
  const { url, accessKeyId, secretAccessKey } = server.access;
  machine.write('root/s3mount.deb', readFileSync(join(packages, file!)));
  t.throws(() => machine.run('command -v node'), 'it has no Node');
  machine.run('apt-get install -y /root/s3mount.deb');
  t.match(machine.run('s3mount --version'), /^s3mount \d/);
  machine.run('useradd -m rstudio && useradd -m third && chmod 755 /home/rstudio');
  machine.write('home/rstudio/.passwd-s3fs', `${accessKeyId}:${secretAccessKey}\n`, 0o600);
  machine.run('chown rstudio: /home/rstudio/.passwd-s3fs');
  machine.run('install -m 600 -o third -g third /home/rstudio/.passwd-s3fs /home/third/.passwd-s3fs');
  // Root's mount by fstab, with root's keys.
  machine.write('etc/passwd-s3fs', `${accessKeyId}:${secretAccessKey}\n`, 0o600);
  const options = `_netdev,nofail,allow_other,umask=0022,url=${url},use_path_request_style`;
  machine.run('mkdir -p /mnt/fstab /mnt/auto');
  machine.write(
    'etc/fstab',
    `${BUCKET} /mnt/fstab fuse.s3mount ${options} 0 0\n${BUCKET} /mnt/auto fuse.s3mount ${options},noauto,x-systemd.automount,x-systemd.idle-timeout=60 0 0\n`,
  );
  machine.write('check/run', check(url), 0o755);
  machine.write(
    'etc/systemd/system/check.service',
    '[Unit]\nAfter=remote-fs.target systemd-user-sessions.service\n[Service]\nExecStart=/check/run\n[Install]\nWantedBy=multi-user.target\n',
  );
  machine.run('systemctl enable -q check.service');
  await machine.boot(LIMIT).finally(() => t.comment(machine.read('check/log') + machine.read('check/journal')));

  const said = Object.fromEntries(
    machine
      .read('check/log')
      .trimEnd()
      .split('\n')
      .map(line => /^([^:]*): (.*)$/s.exec(line)!.slice(1) as [string, string]),
  );
  t.match(said, {
    install: /works-bucket is mounted at \/home\/rstudio\/works, now and at each boot/,
    state: 'active',
    status: /works-bucket is mounted at/,
    'auto-before': '',
    auto: 'first boot',
    'auto-type': 'fuse.s3mount',
    'own-install': /works-bucket is mounted at \/home\/third\/own, now and at each boot/,
    'own-state': 'active',
    write: 'written',
    mounted: /^works-bucket\s+fuse\.s3mount$/,
    fstab: /^works-bucket\s+fuse\.s3mount$/,
    'fstab-third': 'first boot',
    own: /^works-bucket\s+fuse\.s3mount$/,
    'own-read': 'first boot',
    'own-others': /Permission denied/,
    'own-write': 'theirs',
    owner: 'rstudio:rstudio:755',
    rstudio: 'first boot',
    third: 'first boot',
    'third-writes': /Permission denied/,
    healed: 'first boot',
    unsaved: 'kept',
  });
  t.match(machine.read(`${OWN.slice(1, -4)}/.config/systemd/user/${OWN_UNIT}`), /WantedBy=default.target/);
  t.match(machine.read('etc/fuse.conf'), /^user_allow_other$/m);
  const stored = await new ForeignClient(server.access, BUCKET).get('unsaved.txt');
  t.equal(String(stored), 'kept\n', 'what was unsaved when the machine went down is in S3');

  machine.run('apt-get remove -y s3mount');
  t.throws(() => machine.run('command -v s3mount'));
  t.throws(() => machine.read('usr/lib/s3mount/node'), { code: 'ENOENT' });
});
