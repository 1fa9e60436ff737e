import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** Stands between a client and the server, and loses the replies to the COMMITs it is told to. */
export interface CommitCutter {
  /** The given URL, through the cutter. */
  url(of: string): string;
  /** Loses the reply to the next COMMIT, after the server has worked it, and breaks that connection. */
  cutNext(): void;
  readonly cuts: number;
  close(): Promise<void>;
}

/** Query, 4 + 7 bytes long, `commit`. The word alone also stands in audit entries. */
const commitMessage = Buffer.from('Q\0\0\0\x0bcommit\0', 'latin1');

export async function startCommitCutter(serverUrl: string): Promise<CommitCutter> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let armed = false;
  let cuts = 0;
  const server: Server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let cutting = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('data', (bytes) => {
      if (armed && bytes.includes(commitMessage)) {
        armed = false;
        cutting = true;
      }
      upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      if (!cutting) {
        client.write(bytes);
        return;
      }
      // The server has answered, so it has committed; the client never learns.
      cuts += 1;
      client.destroy();
      upstream.destroy();
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const own = (server.address() as AddressInfo).port;
  return {
    url(of) {
      const url = new URL(of);
      url.hostname = '127.0.0.1';
      url.port = String(own);
      return url.href;
    },
    cutNext() {
      armed = true;
    },
    get cuts() {
      return cuts;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
