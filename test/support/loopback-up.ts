/** Brings `lo` up in a new network namespace, without iproute2. */
import koffi from 'koffi';

const libc = koffi.load(null);
const socket = libc.func('socket', 'int', ['int', 'int', 'int']);
const ioctl = libc.func('ioctl', 'int', ['int', 'ulong', 'void *']);

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

/** struct ifreq: the name in 16 bytes, then the flags. */
const request = Buffer.alloc(40);
request.write('lo');
request.writeInt16LE(IFF_UP, 16);
const descriptor = socket(AF_INET, SOCK_DGRAM, 0) as number;
if (descriptor < 0 || (ioctl(descriptor, SIOCSIFFLAGS, request) as number) < 0) {
  throw new Error(`lo could not be brought up: errno ${koffi.errno()}`);
}
