import { schema } from '../../schema/schema.ts';
import { type Context, createContext } from '../../resolvers/context.ts';
import { createAuthenticator } from '../../src/auth/authenticator.ts';
import type { Authenticator } from '../../src/auth/authenticator.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { createIssuerRegistry } from '../../src/domain/issuer-registry.ts';
import { createLiveSubscriptions } from '../../src/domain/live-subscriptions.ts';
import { createRevocations, refuseRevoked } from '../../src/domain/revocations.ts';
import { type Hints, startHints } from '../../src/events/listen.ts';
import { type ServerConfig, startServer } from '../../src/server/start-server.ts';
import type { PackageService } from '../../src/server/packages.ts';
import type { OnRefused } from '../../src/server/refusals.ts';
import type { UploadService } from '../../src/server/uploads.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { apiDeps, quiet } from './api.ts';
import type { TestDatabase } from './database.ts';
import { testAudience, type TestIssuer } from './tokens.ts';
import { webhookDeps } from './webhook-policy.ts';

export interface ApiServer {
  url: string;
  /** Lines that it has logged. */
  log: string[];
  stop(): Promise<void>;
}

export interface ApiServerOptions extends Partial<ServerConfig> {
  /** Issuers with the agencies that they may speak for; or an authenticator of the test's own. */
  issuers?: readonly { issuer: TestIssuer; agencies: readonly string[] }[];
  authenticator?: Authenticator;
  /** The database's own if absent. */
  hints?: Hints;
  uploads?: UploadService<Context>;
  packages?: PackageService<Context>;
  onRefused?: OnRefused;
}

/** One API process' worth of the real thing: the schema, the transports, revocations and live subscriptions, on pools of its own. */
export async function startApiServer(database: TestDatabase, options: ApiServerOptions): Promise<ApiServer> {
  const {
    issuers = [],
    authenticator,
    hints: given,
    environment = 'production',
    uploads,
    packages,
    onRefused,
    ...config
  } = options;
  const log: string[] = [];
  const logger = createLogger({
    service: 'api',
    level: 'debug',
    destination: { write: (line) => void log.push(line) },
  });
  const pool = createPool({ url: database.apiUrl, max: 8, applicationName: 'flux test server', pipeline: true });
  const hints = given ? { ...given, stop: () => Promise.resolve() } : await listeningHints(database);
  const seal = sealKey(database.contextKey);
  const revocations = createRevocations({
    pool,
    seal,
    hints,
    logger,
    configured: (name, agency) =>
      authenticator !== undefined ||
      issuers.some(({ issuer, agencies }) => issuer.issuer === name && agencies.includes(agency)),
  });
  const live = createLiveSubscriptions({ pool, seal, logger });
  const api = { ...apiDeps(database), pool, hints, logger, ...webhookDeps };
  const server = await startServer(
    { environment, host: '127.0.0.1', port: 0, ...config },
    {
      schema,
      authenticator: refuseRevoked(
        authenticator ??
          createAuthenticator({
            environment,
            audience: testAudience,
            registry: createIssuerRegistry({ pool, seal }),
            issuers: issuers.map(({ issuer, agencies }) => ({ issuer: issuer.issuer, jwks: issuer.jwks, agencies })),
          }),
        revocations,
      ),
      live: { watch: (principal, end) => revocations.watch(principal, end), opened: (one) => live.opened(one) },
      seal,
      createContext: (request) => createContext(api, request),
      ...(uploads ? { uploads } : {}),
      ...(packages ? { packages } : {}),
      ...(onRefused ? { onRefused } : {}),
      readiness: {},
      logger,
    },
  );
  return {
    url: server.url,
    log,
    async stop() {
      await server.stop();
      await live.stop();
      await revocations.stop();
      await hints.stop();
      await pool.end();
    },
  };
}

async function listeningHints(database: TestDatabase): Promise<Hints & { stop(): Promise<void> }> {
  const hints = startHints({ url: database.apiUrl, logger: quiet });
  await hints.listening();
  return hints;
}
