import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { migrate } from '../src/db/migrate.ts';
import { createPool, type Pool } from '../src/db/pool.ts';
import { agencyRole, platformRoles, rolePassword, rolePrefix } from '../src/db/roles.ts';
import { sql } from '../src/db/sql.ts';
import { inTransaction } from '../src/db/transaction.ts';
import { startEmbedded } from '../src/embedded-postgres/start-embedded.ts';
import { appendEvents, type NewRunEvent, type RunTransition } from '../src/events/append.ts';
import { provisionTestAgency } from '../test/support/agency.ts';

export const benchAgency = 'nasa';
/** Protects nothing. */
export const benchContextKey = Buffer.alloc(32, 7);

/** A migrated database of its own with one agency, as production configures it (`fsync` on). */
export interface ScratchDatabase {
  adminUrl: string;
  apiUrl: string;
  workerUrl: string;
  sealerUrl: string;
  admin: Pool;
  /** As the agency's worker. */
  agency: Pool;
  newRun(): Promise<string>;
  append(runId: string, events: readonly NewRunEvent[], transition?: RunTransition): Promise<void>;
  stop(): Promise<void>;
}

export async function startScratchDatabase(): Promise<ScratchDatabase> {
  const home = await mkdtemp(path.join(tmpdir(), 'flux-bench-'));
  await chmod(home, 0o711);
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const embedded = await startEmbedded({ home, logger: silent, settings: { max_connections: '200' } });
  const { adminUrl } = embedded;
  await migrate(adminUrl, { contextKey: benchContextKey });
  await provisionTestAgency({ adminUrl, contextKey: benchContextKey }, benchAgency, {});
  const database = new URL(adminUrl).pathname.slice(1);
  const roles = platformRoles(rolePrefix(database));
  const urlFor = (role: string): string => {
    const url = new URL(adminUrl);
    url.username = role;
    url.password = rolePassword(benchContextKey, role);
    return url.href;
  };
  const admin = createPool({ url: adminUrl, max: 2, applicationName: 'flux bench admin' });
  const agency = createPool({
    url: urlFor(agencyRole(database, benchAgency, 'rw')),
    max: 4,
    applicationName: 'flux bench worker',
    prepared: true,
  });
  await admin.query(sql`
    insert into flux.connections (agency_id, name, kind, config, created_by)
    values (${benchAgency}, 'files', 'file', '{}', 'bench')
  `);
  await admin.query(sql`
    insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, connection_name,
      definition, sha256, created_by)
    values (${benchAgency}, 'bench', 1, 'Bench', 'text', 'research', 0, 'files', '{}', ${Buffer.alloc(32)}, 'bench')
  `);
  const append: ScratchDatabase['append'] = (runId, events, transition) =>
    agency.withConnection((connection) =>
      inTransaction(connection, async (tx) => {
        await appendEvents(tx, { agencyId: benchAgency, runId }, events, transition);
      }),
    );
  return {
    adminUrl,
    apiUrl: urlFor(roles.api),
    workerUrl: urlFor(roles.worker),
    sealerUrl: urlFor(roles.sealer),
    admin,
    agency,
    append,
    async newRun() {
      const { rows } = await admin.query<{ id: string }>(sql`
        insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
          requested_by, payload)
        values (${benchAgency}, 'bench', 1, 'FULL', 'text', 'research', 0, 'bench', '{}')
        returning run_id as id
      `);
      const runId = (rows[0] as { id: string }).id;
      await append(runId, [{ name: 'RunStarted', message: 'started' }], {
        from: ['PENDING'],
        to: 'IN_PROGRESS',
        starts: true,
      });
      return runId;
    },
    async stop() {
      await Promise.all([admin.end(), agency.end()]);
      await embedded.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}
