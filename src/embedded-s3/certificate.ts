/**
 * A certificate authority made on the spot and a server certificate signed by it. Node can sign but cannot write X.509, so
 * the few structures of RFC 5280 that are needed are encoded here in DER.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface Certificates {
  /** PEM, all of them. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  const significant = length.subarray(length.findIndex(byte => byte !== 0));
  return Buffer.concat([Buffer.from([tag, 0x80 | significant.length]), significant, content]);
}

const sequence = (...items: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...items);

/** `[number]` around whole values (`constructed`) or in the place of a value's own tag. */
const tagged = (number: number, constructed: boolean, ...contents: readonly Uint8Array[]): Buffer =>
  der((constructed ? 0xa0 : 0x80) | number, ...contents);

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups: number[] = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    bytes.push(...groups);
  }
  return der(TAG.oid, Buffer.from(bytes));
}

/** The leading zero keeps a number with its highest bit set positive. */
const integer = (bytes: Uint8Array): Buffer =>
  der(TAG.integer, (bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes);

const bitString = (bytes: Uint8Array, unused = 0): Buffer => der(TAG.bitString, Buffer.from([unused]), bytes);

function time(date: Date): Buffer {
  return der(TAG.generalizedTime, Buffer.from(`${date.toISOString().replace(/[-:T]|\.\d+Z/g, '')}Z`));
}

const ECDSA_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));

function commonName(name: string): Buffer {
  return sequence(der(TAG.set, sequence(oid('2.5.4.3'), der(TAG.utf8String, Buffer.from(name)))));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [der(TAG.boolean, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...flag, der(TAG.octetString, value));
}

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map(group => Number.parseInt(group, 16));
  const before = groups(head);
  const after = groups(tail ?? '');
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap(group => [group >> 8, group & 0xff]));
}

function alternativeNames(names: readonly string[]): Buffer {
  const DNS = 2;
  const IP = 7;
  return sequence(
    ...names.map(name =>
      isIP(name) ? tagged(IP, false, ipBytes(name)) : tagged(DNS, false, Buffer.from(name, 'latin1')),
    ),
  );
}

interface Subject {
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly extensions: readonly Buffer[];
}

/** RFC 5280 asks for the SHA-1 of the key, or any other value that tells keys apart. */
const keyId = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();

function certificate(subject: Subject, issuer: { name: string; privateKey: KeyObject; publicKey: KeyObject }): string {
  const now = Date.now();
  const day = 24 * 3600 * 1000;
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const body = sequence(
    // Version 3.
    tagged(0, true, integer(Buffer.from([2]))),
    integer(serial),
    ECDSA_SHA256,
    commonName(issuer.name),
    // A day back, for clocks that differ; a year on, longer than any test and shorter than what clients refuse.
    sequence(time(new Date(now - day)), time(new Date(now + 365 * day))),
    commonName(subject.name),
    subject.publicKey.export({ type: 'spki', format: 'der' }),
    tagged(
      3,
      true,
      sequence(
        ...subject.extensions,
        extension('2.5.29.14', false, der(TAG.octetString, keyId(subject.publicKey))),
        extension('2.5.29.35', false, sequence(tagged(0, false, keyId(issuer.publicKey)))),
      ),
    ),
  );
  const signature = sign('sha256', body, issuer.privateKey);
  const base64 = sequence(body, ECDSA_SHA256, bitString(signature)).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
}

/** A CA and a certificate for localhost, 127.0.0.1, ::1 and `names` (host names or addresses, `*.` allowed). */
export function makeCertificates(names: readonly string[] = []): Certificates {
  const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = { name: 's3mount embedded S3 CA', privateKey: ca.privateKey, publicKey: ca.publicKey };
  const isCa = sequence(der(TAG.boolean, Buffer.from([0xff])));
  const all = [...new Set(['localhost', '127.0.0.1', '::1', '*.s3.localhost', ...names])];
  return {
    ca: certificate(
      {
        name: issuer.name,
        publicKey: ca.publicKey,
        extensions: [
          extension('2.5.29.19', true, isCa),
          // keyCertSign and cRLSign.
          extension('2.5.29.15', true, bitString(Buffer.from([0x06]), 1)),
        ],
      },
      issuer,
    ),
    cert: certificate(
      {
        name: 'localhost',
        publicKey: leaf.publicKey,
        extensions: [
          extension('2.5.29.19', true, sequence()),
          // digitalSignature.
          extension('2.5.29.15', true, bitString(Buffer.from([0x80]), 7)),
          extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'))),
          extension('2.5.29.17', false, alternativeNames(all)),
        ],
      },
      issuer,
    ),
    key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}
