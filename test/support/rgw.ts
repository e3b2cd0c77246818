/**
 * A single-node Ceph with its S3 gateway (RGW) on 127.0.0.1, out of the distribution's packages: a store that is not ours
 * and not AWS. Monitor, OSD in memory and gateway, no systemd, no manager; gone with the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Guard } from './guard.ts';
import { HUNG, START_LIMIT } from './limits.ts';
import { run, withEnvironment } from './processes.ts';
import type { S3Access } from './s3-client.ts';

const ACCESS_KEY = 'rgwtest';
const SECRET_KEY = 'rgwtestsecret';

export interface Rgw {
  readonly access: S3Access;
  stop(): Promise<void>;
}

/** Throws an error that names the command which installs what is missing. */
export async function startRgw(): Promise<Rgw> {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-rgw-'));
  const guard = new Guard(HUNG);
  const [monitorPort, gatewayPort] = [await freePort(), await freePort()];
  const configuration = join(directory, 'ceph.conf');
  for (const name of ['mon', 'osd', 'rgw', 'run', 'crash']) mkdirSync(join(directory, name));
  const fsid = randomUUID();
  const osd = randomUUID();
  writeFileSync(configuration, configurationText({ directory, fsid, monitorPort, gatewayPort }));
  const ceph = (program: string, ...args: string[]): void => void run(program, ['-c', configuration, ...args]);

  const children: ChildProcess[] = [];
  const start = (program: string, ...args: string[]): void => {
    const child = spawn('env', [...withEnvironment({ PATH: path() }), program, '-c', configuration, ...args, '-f'], {
      stdio: 'ignore',
    });
    guard.process(child.pid!);
    children.unshift(child);
  };
  const stop = async (): Promise<void> => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise(resolve => child.once('exit', resolve));
      // All is in memory: there is nothing that an orderly end would keep.
      child.kill('SIGKILL');
      await ended;
    }
    await guard.end();
    rmSync(directory, { recursive: true, force: true });
  };

  try {
    const monitors = join(directory, 'monmap');
    run('monmaptool', [
      '--create',
      '--clobber',
      '--addv',
      'm',
      `[v2:127.0.0.1:${monitorPort}]`,
      '--fsid',
      fsid,
      monitors,
    ]);
    ceph('ceph-mon', '--mkfs', '-i', 'm', '--monmap', monitors);
    ceph('ceph-osd', '--no-mon-config', '--mkfs', '-i', '0', '--osd-uuid', osd);
    start('ceph-mon', '-i', 'm');
    ceph('ceph', 'osd', 'new', osd, '0');
    start('ceph-osd', '-i', '0');
    ceph(
      'radosgw-admin',
      ...[
        'user',
        'create',
        '--uid=test',
        '--display-name=test',
        `--access-key=${ACCESS_KEY}`,
        `--secret=${SECRET_KEY}`,
      ],
    );
    start('radosgw', '-n', 'client.rgw');
    const url = `http://127.0.0.1:${gatewayPort}`;
    await answering(url, join(directory, 'client.rgw.log'));
    return { access: { url, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY, region: 'us-east-1' }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function path(): string {
  return `${process.env['PATH']}:/usr/sbin:/sbin`;
}

async function answering(url: string, logFile: string): Promise<void> {
  for (const end = Date.now() + START_LIMIT; ; ) {
    try {
      await fetch(url);
      return;
    } catch {
      if (Date.now() > end) throw new Error(`radosgw did not answer:\n${readFileSync(logFile, 'utf8').slice(-3000)}`);
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

interface Places {
  readonly directory: string;
  readonly fsid: string;
  readonly monitorPort: number;
  readonly gatewayPort: number;
}

function configurationText({ directory, fsid, monitorPort, gatewayPort }: Places): string {
  return `[global]
fsid = ${fsid}
mon host = [v2:127.0.0.1:${monitorPort}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
# Without authentication there is no key to encrypt with.
ms mon client mode = crc secure
ms client mode = crc
ms cluster mode = crc
ms service mode = crc secure
run dir = ${directory}/run
admin socket = ${directory}/run/$name.asok
crash dir = ${directory}/crash
log file = ${directory}/$name.log
mon cluster log file = ${directory}/cluster.log
log to stderr = false
mon allow insecure global id reclaim = true
mon allow pool size one = true
mon max pg per osd = 2000
# Pools of one copy, few groups, no manager that would change them.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
mon data = ${directory}/mon
# A fresh cluster has its first map in 1 s instead of 5.
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd min in ratio = 0
# A full disk of the machine does not matter: nothing is kept there.
mon data avail crit = 1
mon data avail warn = 2
[osd]
osd data = ${directory}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
# S3's keys of 1,024 bytes, with what the gateway puts before them.
osd max object name len = 2048
osd max object namespace len = 256
osd scrub begin hour = 0
osd max scrubs = 0
[client]
rgw data = ${directory}/rgw
# Without tcp_nodelay each small GET waits 40 ms for an acknowledgement.
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1
rgw thread pool size = 64
rgw enable usage log = false
rgw override bucket index max shards = 1
`;
}
