import { afterAll, beforeAll } from 'vitest';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import type { Role } from '../../src/auth/roles.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { FluxError } from '../../src/errors.ts';
import { startHints } from '../../src/events/listen.ts';
import { type RunningServer, type ServerConfig, startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import {
  apiDeps,
  append,
  completes,
  connectionDocument,
  contractDocument,
  pipelineDocument,
  principalOf,
  quiet,
  starts,
} from './api.ts';
import type { TestDatabase } from './database.ts';
import { webhookDeps } from './webhook-policy.ts';

export interface ServedApi {
  readonly url: string;
  readonly port: number;
  /** Tokens that the API refuses from now on. */
  readonly refused: Set<string>;
}

export { ensureWebhookKeys, webhookDataKey, webhookKeys, webhookPolicy } from './webhook-policy.ts';

/**
 * The API on a test's database, in this process. Who may speak for whom is the authenticator's own affair and has its own tests;
 * here a token is `<agency>/<role>[/<seconds that it lasts>]`.
 */
export function serveApi(database: TestDatabase, config: Partial<ServerConfig> = {}): ServedApi {
  let server: RunningServer;
  let hints: ReturnType<typeof startHints>;
  const refused = new Set<string>();
  beforeAll(async () => {
    hints = startHints({ url: database.apiUrl, logger: quiet });
    const api = apiDeps(database, { hints, pollMs: 1_000, ...webhookDeps });
    server = await startServer(
      { environment: 'development', host: '127.0.0.1', port: 0, ...config },
      {
        schema,
        authenticator: {
          authenticate(token) {
            const [agency = '', role = 'viewer', seconds] = token.split('/');
            if (refused.has(token)) throw new FluxError('UNAUTHENTICATED', 'This token is refused.');
            return Promise.resolve(
              principalOf(agency, {
                role: role as Role,
                ...(seconds === undefined ? {} : { expiresAt: new Date(Date.now() + Number(seconds) * 1_000) }),
              }),
            );
          },
        },
        seal: sealKey(database.contextKey),
        createContext: (request) => createContext(api, request),
        readiness: {},
        logger: createLogger({ service: 'api', level: 'fatal' }),
      },
    );
    await hints.listening();
  });
  afterAll(async () => {
    await server.stop();
    await hints.stop();
  });
  return {
    get url() {
      return server.url;
    },
    get port() {
      return Number(new URL(server.url).port);
    },
    refused,
  };
}

/** Registers what a run needs, through the API; the pipeline is called `readings`. */
export const definitions = { connection: connectionDocument, contract: contractDocument, pipeline: pipelineDocument() };

/** Writes a run's history as its worker would: started, `count` batches, completed. */
export function history(database: TestDatabase, agency: string, runId: string) {
  let batch = 0;
  return {
    start: () => append(database, agency, runId, [{ name: 'RunStarted', message: 'started' }], starts),
    async batches(count: number): Promise<void> {
      for (let i = 0; i < count; i += 1) {
        batch += 1;
        await append(database, agency, runId, [{ name: 'BatchCommitted', message: `batch ${String(batch)}` }]);
      }
    },
    complete: () => append(database, agency, runId, [{ name: 'RunCompleted', message: 'completed' }], completes),
  };
}

/** The sequence numbers of a run's events, from the table. */
export async function storedSeqs(database: TestDatabase, runId: string): Promise<string[]> {
  const { rows } = await database
    .admin()
    .query<{ seq: bigint }>(sql`select seq from flux.run_events where run_id = ${runId} order by seq`);
  return rows.map(({ seq }) => String(seq));
}
