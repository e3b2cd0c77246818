/**
 * The way out through an HTTP proxy: a CONNECT for what is encrypted, the request itself with its whole address for what is
 * not (proxies mostly refuse CONNECT to port 80).
 *
 * The metadata services of instance and container never come here: they are asked by the SDK and by `instance-region.ts`, which
 * go straight. A proxy would be asked for an address that means itself.
 */
import net from 'node:net';
import tls from 'node:tls';
import { StoreError } from '../errors.ts';
import type { ConnectionTimeouts, Origin } from './http-connection.ts';
import { HttpError } from './http-message.ts';
import type { Tunnel } from './http-pool.ts';

export interface ProxySettings {
  /** For https. Absent: go straight. */
  readonly secure?: string | undefined;
  /** For http. */
  readonly plain?: string | undefined;
  /** Hosts that are asked straight, as NO_PROXY lists them. */
  readonly except?: string | undefined;
  /** `user:password`, where the address of the proxy holds none. */
  readonly login?: string | undefined;
}

export interface ProxyRoute {
  readonly tunnel: Tunnel;
  /** The head of a request as it must go out: to a proxy of plain HTTP with the whole address in its first line. */
  headFor(origin: Origin, head: string): string;
}

interface Proxy {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  /** `proxy-authorization: …` with CRLF, or empty. */
  readonly authorization: string;
}

/** What an answer to CONNECT may have: status line and a few headers. */
const MAX_ANSWER_BYTES = 16 * 1024;

/** s3fs's and curl's: 1080, or 443 for https. */
function parseProxy(text: string, login: string | undefined): Proxy {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new StoreError('invalid', `"${withoutLogin(text)}" is no HTTP proxy: give it as http://HOST:PORT`);
  }
  const secure = url.protocol === 'https:';
  const own = url.username === '' ? login : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  // `new URL` drops the port that is the scheme's own.
  const stated = /:(\d+)\/?$/.exec(address)?.[1];
  return {
    secure,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: stated === undefined ? (secure ? 443 : 1080) : Number(stated),
    authorization: own === undefined ? '' : `proxy-authorization: Basic ${Buffer.from(own).toString('base64')}\r\n`,
  };
}

function withoutLogin(text: string): string {
  return text.replace(/\/\/[^@/]*@/, '//');
}

/** Whether `host` is among `list`: names with all that is below them, addresses, networks as 10.0.0.0/8, `*`. */
export function isExcepted(host: string, port: number, list: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  for (const raw of list.split(/[\s,]+/)) {
    const [, entry = '', entryPort] = /^(.*?)(?::(\d+))?$/.exec(net.isIPv6(raw) ? raw : raw.toLowerCase())!;
    const item = net.isIPv6(raw) ? raw : entry.replace(/^\[|\]$/g, '');
    if (item === '' || (entryPort !== undefined && !net.isIPv6(raw) && Number(entryPort) !== port)) continue;
    if (item === '*') return true;
    const bare = item.replace(/^\*?\./, '');
    if (name === bare || name.endsWith(`.${bare}`)) return true;
    const [network = '', bits] = item.split('/');
    const family = net.isIPv6(network) ? 'ipv6' : 'ipv4';
    if (bits !== undefined && net.isIP(network) !== 0 && net.isIP(name) === net.isIP(network)) {
      const block = new net.BlockList();
      block.addSubnet(network, Number(bits), family);
      if (block.check(name, family)) return true;
    }
  }
  return false;
}

/** Undefined: there is no proxy. Throws `StoreError` ('invalid') for an address that is none. */
export function proxyRoute(
  settings: ProxySettings,
  timeouts: ConnectionTimeouts,
  ca: string | undefined,
): ProxyRoute | undefined {
  const parsed = (text: string | undefined): Proxy | undefined => (text ? parseProxy(text, settings.login) : undefined);
  const secure = parsed(settings.secure);
  const plain = parsed(settings.plain);
  if (!secure && !plain) return undefined;
  const proxyOf = (origin: Origin): Proxy | undefined => {
    const proxy = origin.secure ? secure : plain;
    return proxy && !isExcepted(origin.host, origin.port, settings.except ?? '') ? proxy : undefined;
  };
  return {
    tunnel(origin) {
      const proxy = proxyOf(origin);
      if (!proxy) return undefined;
      return origin.secure ? tunnelTo(origin, proxy, timeouts, ca) : reach(proxy, timeouts, ca);
    },
    headFor(origin, head) {
      const proxy = origin.secure ? undefined : proxyOf(origin);
      if (!proxy) return head;
      const end = head.indexOf('\r\n') + 2;
      const space = head.indexOf(' ') + 1;
      const host = net.isIPv6(origin.host) ? `[${origin.host}]` : origin.host;
      return `${head.slice(0, space)}http://${host}:${origin.port}${head.slice(space, end)}${proxy.authorization}${head.slice(end)}`;
    },
  };
}

/** A connection to the proxy itself. */
function reach(proxy: Proxy, timeouts: ConnectionTimeouts, ca: string | undefined): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const where = { host: proxy.host, port: proxy.port };
    const socket = proxy.secure
      ? tls.connect({
          ...where,
          ...(net.isIP(proxy.host) ? {} : { servername: proxy.host }),
          ...(ca === undefined ? {} : { ca }),
        })
      : net.connect(where);
    const name = `the proxy ${proxy.host}:${proxy.port}`;
    const failed = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      reject(new HttpError('connect', `no connection to ${name} (${error.code ?? error.message})`, false, error));
    };
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new HttpError('connect-timeout', `no connection to ${name} in ${timeouts.connect} ms`, false));
    }, timeouts.connect);
    socket.once('error', failed);
    socket.once(proxy.secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', failed);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** A connection through the proxy, over which TLS with `origin` can begin. */
async function tunnelTo(
  origin: Origin,
  proxy: Proxy,
  timeouts: ConnectionTimeouts,
  ca: string | undefined,
): Promise<net.Socket> {
  const socket = await reach(proxy, timeouts, ca);
  const target = `${net.isIPv6(origin.host) ? `[${origin.host}]` : origin.host}:${origin.port}`;
  const name = `the proxy ${proxy.host}:${proxy.port}`;
  return await new Promise((resolve, reject) => {
    let answer = '';
    const settle = (error: HttpError | undefined): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      if (error === undefined) {
        resolve(socket);
        return;
      }
      socket.on('error', () => {}).destroy();
      reject(error);
    };
    const timer = setTimeout(
      () =>
        settle(
          new HttpError('connect-timeout', `${name} made no connection to ${target} in ${timeouts.connect} ms`, false),
        ),
      timeouts.connect,
    );
    const ended = (error?: Error): void =>
      settle(
        new HttpError('connect', `${name} closed the connection${error ? ` (${error.message})` : ''}`, false, error),
      );
    socket.once('error', ended);
    socket.once('end', ended);
    socket.on('data', bytes => {
      answer += bytes.toString('latin1');
      const end = answer.indexOf('\r\n\r\n');
      if (end < 0) {
        if (answer.length > MAX_ANSWER_BYTES)
          settle(new HttpError('bad-answer', `${name} does not answer as a proxy`, false));
        return;
      }
      const status = /^HTTP\/1\.[01] (\d{3})([^\r]*)/.exec(answer);
      if (status?.[1]?.startsWith('2') && end + 4 === answer.length) {
        socket.pause();
        settle(undefined);
        return;
      }
      const said = status ? `answered ${status[1]}${status[2]}` : 'does not answer as a proxy';
      const hint = status?.[1] === '407' ? '; it wants a user and a password: proxy_cred_file=' : '';
      settle(new HttpError('connect', `${name} ${said} when asked for ${target}${hint}`, false));
    });
    socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n${proxy.authorization}\r\n`);
  });
}
