/**
 * Waits in Node's own event loop until a descriptor can be read.
 *
 * Node has no way to wait for /dev/fuse, but the libuv that it is built on has one (uv_poll), and exports it for add-ons
 * (Node's documentation, "Libraries included with Node.js"). It is called through koffi. A wake-up costs 5 to 8 µs so;
 * by a read that is parked in the thread pool it costs two threads that wake each other, 100 µs on a virtual machine.
 */
import { isMainThread } from 'node:worker_threads';

type Koffi = typeof import('koffi').default;

/** Stops watching; the descriptor may be closed then. */
export type Unwatch = () => void;

/**
 * Calls `onReadable` in each turn of the loop in which `fd` can be read, or has failed; from now on reads of it do not wait
 * (O_NONBLOCK). The call is outside of what Node
 * knows of: promises and ticks do not run after it, so it should no more than ask for a turn (setImmediate). Undefined
 * where libuv refuses the descriptor.
 */
export type WatchReadable = (fd: number, onReadable: () => void) => Unwatch | undefined;

/** libuv's numbers (uv.h): the type of the handle, and the event. */
const UV_POLL = 8;
const UV_READABLE = 1;

/** Handles lie in memory that libuv uses until the loop has closed them: it is never given back, 160 bytes each. */
const handles = new Set<ArrayBuffer>();

/** Undefined where this Node hides its libuv, or the thread is a worker, whose loop is another. */
export function loopWatch(koffi: Koffi, isMain = isMainThread): WatchReadable | undefined {
  if (!isMain) return undefined;
  try {
    return bind(koffi);
  } catch {
    return undefined;
  }
}

function bind(koffi: Koffi): WatchReadable {
  const self = koffi.load(null);
  const defaultLoop = self.func('uv_default_loop', 'uintptr_t', []);
  const handleSize = self.func('uv_handle_size', 'size_t', ['int']);
  const pollInit = self.func('uv_poll_init', 'int', ['uintptr_t', 'uintptr_t', 'int']);
  const callback = koffi.pointer(koffi.proto('void', ['uintptr_t', 'int', 'int']));
  const pollStart = self.func('uv_poll_start', 'int', ['uintptr_t', 'int', callback]);
  const pollStop = self.func('uv_poll_stop', 'int', ['uintptr_t']);
  const close = self.func('uv_close', 'void', ['uintptr_t', 'uintptr_t']);
  return (fd, onReadable) => {
    const handle = new ArrayBuffer(Math.max(256, Number(handleSize(UV_POLL))));
    const address = Number(koffi.address(handle));
    if (pollInit(defaultLoop(), address, fd) !== 0) return undefined;
    handles.add(handle);
    const registered = koffi.register(() => onReadable(), callback);
    const unwatch = (): void => {
      pollStop(address);
      close(address, 0);
      koffi.unregister(registered);
    };
    if (pollStart(address, UV_READABLE, registered) === 0) return unwatch;
    unwatch();
    return undefined;
  };
}
