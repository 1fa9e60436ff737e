import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Passes everything on, until it is told to break a connection off. */
export async function startBreakingNetwork(port: number) {
  let breaking: { bytes: number; then: (() => Promise<void>) | undefined } | null = null;
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    const upstream = connect(port, '127.0.0.1');
    let passed = 0;
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.pipe(upstream);
    upstream.on('data', (piece) => {
      passed += piece.length;
      client.write(piece);
      if (breaking === null || passed < breaking.bytes) return;
      const { then } = breaking;
      breaking = null;
      upstream.pause();
      void (then?.() ?? Promise.resolve()).then(() => {
        client.resetAndDestroy();
        upstream.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    breakAfter(bytes: number, then?: () => Promise<void>) {
      breaking = { bytes, then };
    },
    /** Ends what is still open, as kept alive by its clients. */
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
  };
}
