import { randomUUID } from 'node:crypto';

import { createContext, type ApiDeps, type Context } from '../../resolvers/context.ts';
import type { ActivityLog } from '../../src/audit/activity-log.ts';
import type { Clearance, Principal } from '../../src/auth/principal.ts';
import { createRequestContext } from '../../src/auth/request-context.ts';
import { type Role, scopesOf } from '../../src/auth/roles.ts';
import { createLakeReader } from '../../src/db/lake-reader.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { appendEvents, type NewRunEvent, type RunTransition } from '../../src/events/append.ts';
import { cursorKeyOf } from '../../src/events/cursor.ts';
import type { Hints } from '../../src/events/listen.ts';
import { auditBodies } from './audit.ts';
import type { TestDatabase } from './database.ts';

export interface CallerOptions {
  role?: Role;
  clearance?: Clearance;
  subject?: string;
  signal?: AbortSignal;
  expiresAt?: Date;
}

export function principalOf(agency: string, options: CallerOptions = {}): Principal {
  const { role = 'operator', clearance = 0, subject = 'pat@example.gov' } = options;
  return {
    subject,
    agency,
    role,
    scopes: scopesOf(role),
    clearance,
    tokenId: randomUUID(),
    issuedAt: new Date(),
    expiresAt: options.expiresAt ?? new Date(Date.now() + 600_000),
    issuer: 'test',
  };
}

/** Hints that never come: what streams deliver then, their polls have found. */
export function silentHints(): Hints & { waiters: number; finds: number } {
  const hints = {
    waiters: 0,
    finds: 0,
    on() {
      hints.waiters += 1;
      let held = true;
      return () => {
        if (held) hints.waiters -= 1;
        held = false;
      };
    },
    missed() {
      hints.finds += 1;
    },
    stats: () => ({ listening: false, waiters: hints.waiters, hints: 0, reconnects: 0, backstopFinds: hints.finds }),
  };
  return hints;
}

/** An activity log that writes nothing. */
export function rememberActivity(): ActivityLog {
  const done = (): Promise<void> => Promise.resolve();
  const nothing = (): void => undefined;
  return { admit: nothing, add: nothing, addRefusal: nothing, watch: nothing, flush: done, stop: done };
}

export const quiet = { info: () => undefined, warn: () => undefined };

/** The API's dependencies on a test's database. */
export function apiDeps(database: TestDatabase, more: Partial<ApiDeps> = {}): ApiDeps {
  return {
    pool: database.apiPool(),
    cursorKey: cursorKeyOf(database.contextKey),
    hints: silentHints(),
    logger: quiet,
    activity: rememberActivity(),
    lake: createLakeReader({ databaseUrl: database.apiUrl, contextKey: database.contextKey }),
    pollMs: 50,
    ...more,
  };
}

/** What a resolver and a use case get from a request of this caller. */
export function contextOf(
  database: TestDatabase,
  agency: string,
  options: CallerOptions & { api?: ApiDeps } = {},
): Context {
  return createContext(
    options.api ?? apiDeps(database),
    createRequestContext({
      principal: principalOf(agency, options),
      seal: sealKey(database.contextKey),
      requestId: randomUUID(),
      traceId: 'f'.repeat(32),
      ip: '192.0.2.1',
      userAgent: 'test',
      signal: options.signal ?? new AbortController().signal,
    }),
  );
}

export const connectionDocument = { name: 'files', kind: 'file', title: 'Files', config: { roots: ['.'] } };

export const contractDocument = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Reading',
  type: 'object',
  properties: { year: { type: 'integer' } },
  required: ['year'],
  additionalProperties: false,
};

export function pipelineDocument(name = 'readings', more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    name,
    title: `Pipeline ${name}`,
    contentType: 'text',
    useCase: 'research',
    source: { connection: 'files', path: 'readings.csv', format: { type: 'csv' } },
    contract: { name: 'reading', version: 1 },
    destination: { type: 'postgres', dataset: 'readings', mode: 'replace' },
    ...more,
  };
}

export interface AuditRow {
  action: string;
  success: boolean;
  error_code: string | null;
  resource_id: string | null;
  actor: string;
  body: Record<string, unknown>;
}

/** An agency's audit entries, oldest first. */
export async function auditOf(database: TestDatabase, agency: string): Promise<AuditRow[]> {
  return (await auditBodies(database, agency)).map((body) => ({
    action: body['action'] as string,
    success: body['success'] as boolean,
    error_code: body['errorCode'] as string | null,
    resource_id: body['resourceId'] as string | null,
    actor: body['actor'] as string,
    body,
  }));
}

/** Appends to a run's history as the agency's worker login does. */
export async function append(
  database: TestDatabase,
  agency: string,
  runId: string,
  events: readonly NewRunEvent[],
  transition?: RunTransition,
): Promise<void> {
  await database.agencyPool(agency).withConnection((connection) =>
    inTransaction(connection, async (tx) => {
      await appendEvents(tx, { agencyId: agency, runId }, events, transition);
    }),
  );
}

export const starts: RunTransition = { from: ['PENDING'], to: 'IN_PROGRESS', starts: true };
export const completes: RunTransition = { from: ['IN_PROGRESS'], to: 'COMPLETED', finishes: true };

export async function countRows(
  database: TestDatabase,
  agency: string,
  table: 'runs' | 'run_partitions' | 'run_events',
): Promise<number> {
  const queries = {
    runs: sql`select count(*)::int as n from flux.runs`,
    run_partitions: sql`select count(*)::int as n from flux.run_partitions`,
    run_events: sql`select count(*)::int as n from flux.run_events`,
  };
  const { rows } = await inTenant(database.apiPool(), database.tenant(agency, { clearance: 5 }), (tx) =>
    tx.query<{ n: number }>(queries[table]),
  );
  return rows[0]?.n ?? 0;
}
