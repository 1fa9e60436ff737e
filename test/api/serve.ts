import { createServer } from 'node:net';

import type { GraphQLSchema } from 'graphql';
import { afterAll, beforeAll } from 'vitest';

import type { Context } from '../../resolvers/context.ts';
import { createAuthenticator } from '../../src/auth/authenticator.ts';
import { graphqlPath, type RunningServer, type ServerConfig, startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createTestIssuer, testAudience, type TestIssuer } from '../support/tokens.ts';

export interface ServedSchema {
  readonly url: string;
  readonly issuer: TestIssuer;
  /** Lines that the server has logged. */
  readonly log: Record<string, unknown>[];
  /** Requests that were refused before any resolver. */
  readonly refused: { agency: string; subject: string; code: string; message: string }[];
  token(claims?: Record<string, unknown>): Promise<string>;
  /** POSTs a GraphQL request with a good token. */
  ask(body: unknown, headers?: Record<string, string>): Promise<{ status: number; type: string | null; body: Answer }>;
  stop(): Promise<void>;
}

export interface Answer {
  data?: Record<string, unknown> | null;
  errors?: { message: string; path?: unknown[]; extensions: Record<string, unknown> }[];
}

/** Serves a schema for the whole file, on a port of its own, with an issuer whose key the test holds. */
export function serveSchema(
  schema: () => GraphQLSchema,
  options: Partial<ServerConfig> & { readiness?: Record<string, () => Promise<unknown>> } = {},
): ServedSchema {
  let server: RunningServer;
  let issuer: TestIssuer;
  const log: Record<string, unknown>[] = [];
  const refused: ServedSchema['refused'] = [];
  const { readiness = {}, environment = 'development', ...config } = options;

  beforeAll(async () => {
    issuer = await createTestIssuer('https://login.example.gov');
    server = await startServer(
      { environment, host: '127.0.0.1', port: 0, ...config },
      {
        schema: schema(),
        authenticator: createAuthenticator({
          environment,
          issuers: [{ issuer: issuer.issuer, jwks: issuer.jwks, agencies: ['nasa', 'noaa'] }],
          audience: testAudience,
        }),
        seal: { keyId: 'test', key: Buffer.alloc(32, 1) },
        createContext: (request) => request as Context,
        onRefused: ({ principal: { agency, subject } }, { code, message }) =>
          void refused.push({ agency, subject, code, message }),
        readiness,
        logger: createLogger({
          service: 'api',
          level: 'debug',
          destination: { write: (line) => void log.push(JSON.parse(line) as Record<string, unknown>) },
        }),
      },
    );
  });
  afterAll(() => server.stop());

  return {
    get url() {
      return server.url;
    },
    get issuer() {
      return issuer;
    },
    log,
    refused,
    token: (claims) => issuer.sign(claims),
    async ask(body, headers = {}) {
      const response = await fetch(`${server.url}${graphqlPath}`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/graphql-response+json',
          authorization: `Bearer ${await issuer.sign()}`,
          ...headers,
        },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return {
        status: response.status,
        type: response.headers.get('content-type'),
        body: (await response.json()) as Answer,
      };
    },
    stop: () => server.stop(),
  };
}

/** A port on which somebody else listens. */
export async function takenPort(): Promise<{ port: number; free(): Promise<void> }> {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { port: number };
  return { port, free: () => new Promise((resolve) => other.close(() => resolve())) };
}
