import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

export interface DashboardOptions {
  /** What its build wrote: index.html, and assets/ whose names carry a hash of their bytes. */
  folder: string;
  /** Where besides this server the page may send requests: the identity providers. */
  connectOrigins: readonly string[];
}

interface ServedFile {
  type: string;
  plain: Buffer;
  gzipped: Buffer;
}

/** A build as it is served: whole in memory, so that no path of a request ever reaches the file system. */
interface Build {
  readonly builtAt: number;
  readonly index: ServedFile;
  readonly assets: ReadonlyMap<string, ServedFile>;
}

/** Addresses of the API; what is not there is an error of the API's, never a page. */
const apiPaths = /^\/(v1|health|graphiql|metrics)(\/|$)/;

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

const compress = promisify(gzip);

/**
 * Serves the dashboard at `/`: the page for every address of its own (it routes by itself), and its assets, which a browser may keep
 * for a year because other bytes have another name. A build that is replaced while the server runs is served from the next page on.
 *
 * @param fallback answers `/` while there is no build
 */
export function serveDashboard(
  server: FastifyInstance,
  options: DashboardOptions,
  fallback: (reply: FastifyReply) => FastifyReply,
): void {
  const current = keepBuild(options.folder);
  const policy = contentSecurityPolicy(options.connectOrigins);

  server.get<{ Params: { '*': string } }>('/assets/*', async (request, reply) => {
    const file = (await current.known())?.assets.get(request.params['*']);
    if (!file) return reply.callNotFound();
    return send(request, reply.header('cache-control', 'public, max-age=31536000, immutable'), file);
  });
  server.get('/*', async (request, reply) => {
    const { pathname } = new URL(request.url, 'http://flux');
    if (apiPaths.test(pathname) || (pathname !== '/' && !wantsPage(request))) return reply.callNotFound();
    const build = await current.newest();
    if (!build) return pathname === '/' ? fallback(reply) : reply.callNotFound();
    return send(
      request,
      reply
        .header('cache-control', 'no-cache')
        .header('content-security-policy', policy)
        .header('cross-origin-opener-policy', 'same-origin')
        .header('permissions-policy', 'camera=(), geolocation=(), microphone=()'),
      build.index,
    );
  });
}

/** Nothing inline, nothing from elsewhere, no frames, and no text ever becomes markup. */
function contentSecurityPolicy(connectOrigins: readonly string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    ["connect-src 'self'", ...connectOrigins].join(' '),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

function wantsPage({ headers }: FastifyRequest): boolean {
  return /\btext\/html\b/.test(headers.accept ?? '');
}

function send(request: FastifyRequest, reply: FastifyReply, { type, plain, gzipped }: ServedFile): FastifyReply {
  const asks = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  const body = asks && gzipped.length < plain.length ? gzipped : plain;
  void reply.type(type).header('vary', 'accept-encoding');
  return (body === gzipped ? reply.header('content-encoding', 'gzip') : reply).send(body);
}

function keepBuild(folder: string) {
  let build: Promise<Build | undefined> | undefined;
  const newest = async (): Promise<Build | undefined> => {
    const before = await build;
    const builtAt = await stat(path.join(folder, 'index.html')).then(
      ({ mtimeMs }) => mtimeMs,
      () => undefined,
    );
    if (before && (builtAt === undefined || before.builtAt === builtAt)) return before;
    if (builtAt === undefined) return undefined;
    // A build that is being replaced this moment cannot be read whole; the next request finds it.
    build = readBuild(folder, builtAt).catch(() => before);
    return build;
  };
  return { newest, known: async () => (await build) ?? newest() };
}

async function readBuild(folder: string, builtAt: number): Promise<Build> {
  const names = await readdir(path.join(folder, 'assets'));
  const assets = names.map(async (name) => [name, await readServed(path.join(folder, 'assets', name))] as const);
  const [index, ...read] = await Promise.all([readServed(path.join(folder, 'index.html')), ...assets]);
  return { builtAt, index, assets: new Map(read) };
}

async function readServed(file: string): Promise<ServedFile> {
  const plain = await readFile(file);
  return { type: types[path.extname(file)] ?? 'application/octet-stream', plain, gzipped: await compress(plain) };
}
