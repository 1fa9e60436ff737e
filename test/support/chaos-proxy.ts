import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** A network between a client and the server that does what networks do. */
export interface ChaosProxy {
  /** The given URL, through the proxy. */
  url(of: string): string;
  /** Loses the reply to the next COMMIT, after the server has worked it, and breaks that connection. */
  cutNextCommit(): void;
  readonly cuts: number;
  /** What passes from now on takes so long, each way; 0 is at once. */
  delay(ms: number): void;
  /** What passes from now on comes in pieces of so many bytes; 0 is as it was sent. */
  slice(bytes: number): void;
  /** Passes nothing more and closes nothing: both sides think that the other is silent. New connections hang too. */
  blackhole(silent: boolean): void;
  /** Ends every connection with RST. */
  reset(): void;
  close(): Promise<void>;
}

/** Query, 4 + 7 bytes long, `commit`. The word alone also stands in audit entries. */
const commitMessage = Buffer.from('Q\0\0\0\x0bcommit\0', 'latin1');

interface Weather {
  delayMs: number;
  sliceBytes: number;
  silent: boolean;
}

export async function startChaosProxy(serverUrl: string): Promise<ChaosProxy> {
  const { hostname, port } = new URL(serverUrl);
  const pairs = new Set<{ client: Socket; upstream: Socket }>();
  const weather: Weather = { delayMs: 0, sliceBytes: 0, silent: false };
  let armed = false;
  let cuts = 0;
  const server: Server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const pair = { client, upstream };
    pairs.add(pair);
    let cutting = false;
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
    }
    client.on('data', (bytes) => {
      if (armed && bytes.includes(commitMessage)) {
        armed = false;
        cutting = true;
      }
      pass(weather, bytes, upstream);
    });
    upstream.on('data', (bytes) => {
      if (!cutting) return pass(weather, bytes, client);
      // The server has answered, so it has committed; the client never learns.
      cuts += 1;
      client.destroy();
      upstream.destroy();
    });
    const closeOther = (other: Socket) => (): void => {
      pairs.delete(pair);
      // In silence the other side does not hear of an end either.
      if (!weather.silent) other.destroy();
    };
    client.on('close', closeOther(upstream));
    upstream.on('close', closeOther(client));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const own = (server.address() as AddressInfo).port;
  const silenced = new Set<Socket>();
  return {
    url(of) {
      const url = new URL(of);
      url.hostname = '127.0.0.1';
      url.port = String(own);
      return url.href;
    },
    cutNextCommit() {
      armed = true;
    },
    get cuts() {
      return cuts;
    },
    delay(ms) {
      weather.delayMs = ms;
    },
    slice(bytes) {
      weather.sliceBytes = bytes;
    },
    blackhole(silent) {
      weather.silent = silent;
      for (const { client, upstream } of pairs) {
        if (silent) for (const socket of [client, upstream]) silenced.add(socket);
      }
      if (silent) return;
      // What was lost in the silence never comes: those connections are of no use to anybody any more.
      for (const socket of silenced) socket.destroy();
      silenced.clear();
    },
    reset() {
      for (const { client, upstream } of pairs) {
        client.resetAndDestroy();
        upstream.resetAndDestroy();
      }
    },
    async close() {
      for (const { client, upstream } of pairs) {
        client.destroy();
        upstream.destroy();
      }
      for (const socket of silenced) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** When the last piece on its way to a socket arrives: a shorter delay must not let later bytes overtake. */
const arrivals = new WeakMap<Socket, number>();

function pass({ delayMs, sliceBytes, silent }: Weather, bytes: Buffer, to: Socket): void {
  if (silent || to.destroyed) return;
  const now = performance.now();
  const at = Math.max(now + delayMs, arrivals.get(to) ?? 0);
  for (const piece of sliceBytes === 0 ? [bytes] : cut(bytes, sliceBytes)) {
    if (at <= now) to.write(piece);
    else setTimeout(() => void (to.destroyed || to.write(piece)), Math.ceil(at - now));
  }
  arrivals.set(to, at);
}

function cut(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}
