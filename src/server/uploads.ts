import type { IncomingMessage } from 'node:http';

import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify';

import type { RequestContext } from '../auth/request-context.ts';
import type { Upload } from '../db/uploads.ts';
import type { UploadRequest } from '../domain/receive-upload.ts';
import { FluxError } from '../errors.ts';
import { AtOnce } from './at-once.ts';
import { admitBearers, type BearerRouteOptions } from './bearer-routes.ts';
import { statusOf } from './error-format.ts';
import { problemOf, problemType } from './rest/problem.ts';

/** What takes uploads in; main.ts composes it. */
export interface UploadService<Context> {
  receive(context: Context, request: UploadRequest): Promise<Upload>;
  find(context: Context, name: string): Promise<Upload | null>;
}

export interface UploadOptions<Context extends RequestContext> extends BearerRouteOptions<Context> {
  service: UploadService<Context>;
}

export const uploadsPath = '/v1/uploads';
/** Of one agency in one process. */
const atOnceMax = 4;

/**
 * Files that become sources (docs/sources.md): `PUT /v1/uploads/{name}` takes a whole file, or by Content-Range (RFC 9110) a part that
 * begins where the last one ended; `HEAD` says where that is. What a broken request has brought is kept. Needs the scope run:write.
 */
export function serveUploads<Context extends RequestContext>(
  server: FastifyInstance,
  options: UploadOptions<Context>,
): void {
  void server.register(async (scope) => {
    const { principalOf, contextOf, failed } = admitBearers(scope, options, {
      needs: 'run:write',
      refusal: 'Uploads need the scope run:write, which your role does not have.',
    });
    const atOnce = new AtOnce(
      atOnceMax,
      `The agency sends ${String(atOnceMax)} files at once already. Wait for one to end.`,
    );
    // What has arrived is written down even for who has gone.
    const never = new AbortController().signal;
    scope.removeAllContentTypeParsers();
    // The body stays a stream.
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    scope.setErrorHandler<FastifyError | FluxError>((error, request, reply) => {
      const { failure, said } = failed(error, request, reply);
      const { uploadOffset } = failure.details;
      if (typeof uploadOffset === 'string') void reply.header('upload-offset', uploadOffset);
      const status = failure.code === 'NOT_FOUND' ? 404 : uploadOffset === undefined ? statusOf(failure) : 409;
      const problem = problemOf(status, said);
      // What is left of the body is not read.
      return reply.code(status).header('connection', 'close').type(problemType).send(JSON.stringify(problem));
    });
    scope.put<{ Params: { name: string } }>(`${uploadsPath}/:name`, async (request, reply) => {
      const leave = atOnce.enter(principalOf(request).agency);
      try {
        const range = rangeOf(request.headers);
        const upload = await options.service.receive(contextOf(request, never), {
          name: request.params.name,
          ...range,
          sha256: digestOf(request.headers['repr-digest']),
          body: arriving(request.raw, range.length),
        });
        return await answer(reply, upload, upload.status === 'COMPLETE' ? 201 : 202);
      } finally {
        leave();
      }
    });
    scope.head<{ Params: { name: string } }>(`${uploadsPath}/:name`, async (request, reply) => {
      const upload = await options.service.find(contextOf(request, never), request.params.name);
      if (upload === null) throw new FluxError('NOT_FOUND', `There is no upload ${request.params.name}.`);
      return answer(reply, upload, 200);
    });
  });
}

function answer(
  reply: FastifyReply,
  { name, status, byteCount, received, sha256 }: Upload,
  code: number,
): FastifyReply {
  void reply
    .code(code)
    .header('cache-control', 'no-store')
    .header('upload-complete', status === 'COMPLETE' ? '?1' : '?0')
    .header('upload-length', String(byteCount))
    .header('upload-offset', String(received));
  if (sha256) void reply.header('repr-digest', `sha-256=:${sha256.toString('base64')}:`);
  return reply.send({
    source: `upload://${name}`,
    status,
    byteCount: String(byteCount),
    received: String(received),
    sha256: sha256?.toString('hex') ?? null,
  });
}

/** What the request brings, of what whole. @throws INVALID_INPUT */
function rangeOf(headers: IncomingMessage['headers']): { firstByte: number; byteCount: number; length: number } {
  const length = Number(headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(length))
    throw new FluxError('INVALID_INPUT', 'An upload says how long it is: Content-Length is missing.');
  const text = headers['content-range'];
  if (text === undefined) return { firstByte: 0, byteCount: length, length };
  const [, first, last, whole] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text) ?? [];
  const range = { firstByte: Number(first), byteCount: Number(whole), length };
  if (first === undefined || Number(last) - range.firstByte + 1 !== length || Number(last) >= range.byteCount) {
    throw new FluxError(
      'INVALID_INPUT',
      `Expected Content-Range: bytes first-last/whole with as many bytes as Content-Length says, found "${text.slice(0, 100)}".`,
    );
  }
  return range;
}

/** RFC 9530, of the whole. */
function digestOf(header: string | string[] | undefined): Buffer | null {
  if (header === undefined) return null;
  const [, base64] = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(header)) ?? [];
  if (base64 === undefined)
    throw new FluxError('INVALID_INPUT', 'Expected Repr-Digest: sha-256=:<base64>:, found another.');
  return Buffer.from(base64, 'base64');
}

/** The body as far as it comes: a request that breaks off has brought what it has brought. */
async function* arriving(request: IncomingMessage, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  let arrived = 0;
  try {
    for await (const piece of request as AsyncIterable<Buffer>) {
      arrived += piece.length;
      yield piece;
    }
  } catch (cause) {
    if (arrived === 0)
      throw new FluxError('INVALID_INPUT', 'The request broke off before it brought anything.', { cause });
  }
  if (arrived > length) throw new FluxError('INVALID_INPUT', `Expected ${String(length)} bytes, found more.`);
}
