import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A web server of a test's own, on loopback. */
export interface WebServer {
  readonly url: string;
  readonly port: number;
  /** Every request so far, with its headers. */
  readonly requests: { url: string; headers: IncomingMessage['headers'] }[];
  /** Serves a resource with ETag and ranges (RFC 9110). */
  put(path: string, content: Uint8Array): void;
  remove(path: string): void;
  /** Answers a path with what the test says, in place of a resource. */
  on(path: string, handler: Handler): void;
  /** Breaks the next answer with a body off after so many bytes of it. `then` runs at once afterwards. */
  breakAfter(bytes: number, then?: () => void): void;
  close(): Promise<void>;
}

export async function startWebServer(): Promise<WebServer> {
  const resources = new Map<string, Buffer>();
  const handlers = new Map<string, Handler>();
  const requests: WebServer['requests'] = [];
  let breaking: { bytes: number; then: (() => void) | undefined } | null = null;

  const send = (response: ServerResponse, status: number, headers: Record<string, string>, body: Buffer): void => {
    response.writeHead(status, { ...headers, 'content-length': body.length });
    if (breaking === null) {
      response.end(body);
      return;
    }
    const { bytes, then } = breaking;
    breaking = null;
    response.write(body.subarray(0, bytes), () => {
      then?.();
      response.socket?.resetAndDestroy();
    });
  };
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    requests.push({ url: path, headers: request.headers });
    const handler = handlers.get(path.split('?')[0] ?? path);
    if (handler) {
      handler(request, response);
      return;
    }
    const content = resources.get(path);
    if (!content) {
      response.writeHead(404).end('no such resource');
      return;
    }
    const etag = `"${createHash('sha256').update(content).digest('hex').slice(0, 16)}"`;
    const headers = { etag, 'accept-ranges': 'bytes', 'last-modified': 'Tue, 03 Mar 2026 10:00:00 GMT' };
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304, headers).end();
      return;
    }
    const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    const current = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
    if (from === undefined || !current) {
      send(response, 200, headers, content);
      return;
    }
    const range = `bytes ${from}-${String(content.length - 1)}/${String(content.length)}`;
    send(response, 206, { ...headers, 'content-range': range }, content.subarray(Number(from)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${String(port)}/`,
    port,
    requests,
    put: (path, content) => void resources.set(`/${path}`, Buffer.from(content)),
    remove: (path) => void resources.delete(`/${path}`),
    on: (path, handler) => void handlers.set(`/${path}`, handler),
    breakAfter: (bytes, then) => void (breaking = { bytes, then }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
