import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands between a client and the API: cuts what is open, and lets only some ways through. */
export interface TcpProxy {
  readonly url: string;
  /** Breaks every connection, without a goodbye. @returns how many */
  cut(): number;
  /** Breaks a connection as soon as its first bytes look like this. */
  block(pattern: RegExp | null): void;
  /** Breaks the next connection on which the API answers, before a byte of the answer has come through. */
  loseNextReply(): void;
  /** Connections that were let through. */
  readonly passed: number;
  close(): Promise<void>;
}

export const webSocketUpgrade = /upgrade: websocket/i;
export const eventStream = /accept: text\/event-stream/i;

/** @param port says where to connect at each connection: the API may come back elsewhere */
export async function startTcpProxy(port: () => number): Promise<TcpProxy> {
  const open = new Set<Socket>();
  let blocked: RegExp | null = null;
  let passed = 0;
  let losing = false;
  const server = createServer((client) => {
    client.on('error', () => client.destroy());
    client.once('data', (head) => {
      if (blocked?.test(head.toString('latin1'))) {
        client.destroy();
        return;
      }
      passed += 1;
      const upstream = connect(port(), '127.0.0.1');
      upstream.on('error', () => client.destroy());
      upstream.on('close', () => client.destroy());
      client.on('close', () => {
        open.delete(client);
        upstream.destroy();
      });
      open.add(client);
      upstream.write(head);
      client.pipe(upstream);
      upstream.on('data', (data) => {
        if (losing) {
          losing = false;
          client.resetAndDestroy();
        } else client.write(data);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: own } = server.address() as AddressInfo;
  const cut = (): number => {
    const count = open.size;
    for (const socket of open) socket.resetAndDestroy();
    return count;
  };
  return {
    url: `http://127.0.0.1:${String(own)}`,
    cut,
    block: (pattern) => (blocked = pattern),
    loseNextReply: () => (losing = true),
    get passed() {
      return passed;
    },
    async close() {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
