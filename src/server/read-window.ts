import type { WebSocket } from 'ws';

/**
 * How much a client may be sent before it has read what it has. The system's own buffers take megabytes for a client that never
 * reads, and a thousand of those are as much work as a thousand that do. Every client answers pings in their order, once it has
 * read what stands before them (RFC 6455, 5.5.2 and 5.5.3): a ping behind what was sent says when it has arrived.
 *
 * The window begins small and doubles each time that a client has used half of it, so one that reads is soon held up by nothing
 * but its connection.
 */
export interface ReadWindow {
  /** So many bytes were sent. */
  sent(bytes: number): void;
  full(): boolean;
  /** Calls back once, when the window is not full any more or the socket is closed. */
  whenOpen(call: () => void): void;
}

const bytesFirst = 16 * 1024;
const bytesMost = 1024 * 1024;
/** Parts of a window after each of which the client is asked. */
const partsOfWindow = 4;

const windows = new WeakMap<WebSocket, ReadWindow>();

/** The window of a socket, shared by all that is sent over it. */
export function readWindowOf(socket: WebSocket): ReadWindow {
  const known = windows.get(socket);
  if (known) return known;
  const window = createReadWindow(socket);
  windows.set(socket, window);
  return window;
}

function createReadWindow(socket: WebSocket): ReadWindow {
  let size = bytesFirst;
  let total = 0;
  let read = 0;
  let asked = 0;
  let waiting: (() => void)[] = [];
  const full = (): boolean => total - read >= size && socket.readyState === socket.OPEN;
  const wake = (): void => {
    const calls = waiting;
    waiting = [];
    for (const call of calls) call();
  };
  socket.on('pong', (payload: Buffer) => {
    // A client may answer the last of several pings only, and may send a pong that nobody asked for.
    const upTo = Number(payload.toString('latin1') || NaN);
    if (!(upTo > read && upTo <= asked)) return;
    if (total - read >= size / 2) size = Math.min(bytesMost, size * 2);
    read = upTo;
    if (!full()) wake();
  });
  socket.once('close', wake);
  return {
    sent(bytes) {
      total += bytes;
      if (total - asked < size / partsOfWindow || socket.readyState !== socket.OPEN) return;
      asked = total;
      socket.ping(String(total));
    },
    full,
    whenOpen(call) {
      if (full()) waiting.push(call);
      else call();
    },
  };
}
