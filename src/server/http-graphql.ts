import type { ApolloServer } from '@apollo/server';
import { fastifyApolloHandler } from '@as-integrations/fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import { type Authenticator, bearerToken } from '../auth/authenticator.ts';
import type { Principal } from '../auth/principal.ts';
import { createRequestContext, type RequestContext } from '../auth/request-context.ts';
import { fromHttp } from './http-failure.ts';
import { prefersEventStream } from './media-type.ts';
import type { OperationGate } from './operation-gate.ts';
import { type OnRefused, tellRefusal } from './refusals.ts';
import { requestIds, trustHeaders, userAgentOf } from './request-ids.ts';
import type { EventStreams } from './sse.ts';
import type { AskedDocument, TrustedDocuments } from './trusted-documents.ts';

export interface HttpGraphqlOptions<Context extends RequestContext> {
  path: string;
  apollo: ApolloServer<Context>;
  gate: OperationGate;
  documents: TrustedDocuments;
  /** Answers who asks for `text/event-stream`. */
  streams: EventStreams;
  authenticator: Authenticator;
  seal: { keyId: string; key: Buffer };
  createContext(request: RequestContext): Context;
  onRefused?: OnRefused;
}

/** GraphQL over HTTP at `path`. A bad or missing token ends in 401 before the document is looked at. */
export function serveGraphqlOverHttp<Context extends RequestContext>(
  server: FastifyInstance,
  options: HttpGraphqlOptions<Context>,
): void {
  const { path, apollo, gate, documents, streams, authenticator, seal, createContext } = options;
  const principals = new WeakMap<FastifyRequest, Principal>();
  const late = new WeakMap<FastifyRequest, AbortController>();

  const answer = fastifyApolloHandler(apollo, {
    context: (request: FastifyRequest, reply: FastifyReply) => {
      const principal = principals.get(request) as Principal;
      const overtime = new AbortController();
      late.set(request, overtime);
      const context = createRequestContext({
        principal,
        seal,
        ...requestIds(request.headers),
        ip: request.ip,
        userAgent: userAgentOf(request.headers),
        signal: AbortSignal.any([gone(reply), overtime.signal]),
      });
      void reply.header('x-request-id', context.requestId);
      return Promise.resolve(createContext(context));
    },
  }) as (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

  server.route({
    method: ['GET', 'POST'],
    url: path,
    // Before the body is read: a stranger does not get 100 kB parsed.
    onRequest: async (request) => {
      principals.set(request, await authenticator.authenticate(bearerToken(request.headers.authorization)));
      trustHeaders(request.headers);
    },
    onError: async (request, _reply, error) => {
      tellRefusal(options.onRefused, request, principals.get(request), fromHttp(error));
    },
    preHandler: async (request) => putText(request, documents),
    handler: (request, reply) => {
      const principal = principals.get(request) as Principal;
      if (prefersEventStream(request.headers.accept)) {
        const asked = request.method === 'GET' ? askedInUrl(request.query as Record<string, unknown>) : request.body;
        return streams.answer(request, reply, { principal, asked, mayChange: request.method !== 'GET' });
      }
      return gate.run(
        principal.agency,
        () => answer(request, reply),
        () => late.get(request)?.abort(),
      );
    },
  });
}

/** Puts a trusted document's text where its id was sent. @throws DOCUMENT_NOT_TRUSTED, INVALID_INPUT */
function putText(request: FastifyRequest, documents: TrustedDocuments): void {
  if (request.method !== 'GET') {
    const asked = request.body as AskedDocument | null | undefined;
    if (typeof asked !== 'object' || asked === null) return;
    const text = documents.textOf(asked);
    if (text !== undefined) asked.query = text;
    // The id has been followed; Apollo would look for it in a store that it does not have. What is no object is Apollo's to refuse.
    const { extensions } = asked;
    if (typeof extensions === 'object' && extensions !== null && !Array.isArray(extensions)) delete asked.extensions;
    return;
  }
  const asked = request.query as AskedDocument;
  const text = documents.textOf({ ...asked, extensions: parsed(asked.extensions) });
  if (typeof text !== 'string' || text === asked.query) return;
  asked.query = text;
  // Apollo reads a GET from its URL.
  const url = new URL(request.url, 'http://flux');
  url.searchParams.set('query', text);
  url.searchParams.delete('extensions');
  request.raw.url = `${url.pathname}${url.search}`;
}

/** What a URL asks for, as a body would (GraphQL over HTTP, section 5.3). Variables that are no JSON stay a text, which is refused. */
function askedInUrl({ query, operationName, variables }: Record<string, unknown>): unknown {
  return { query, operationName, variables: variables === undefined ? undefined : (parsed(variables) ?? variables) };
}

/** Of a URL: JSON as a text. What is none is Apollo's to refuse. */
function parsed(extensions: unknown): unknown {
  try {
    return typeof extensions === 'string' ? JSON.parse(extensions) : extensions;
  } catch {
    return undefined;
  }
}

/** Aborts when the client goes away before it has its answer. */
function gone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
