import { createHash } from 'node:crypto';

import { canonicalBytes } from '../../src/canonical-json.ts';
import type { Queryable } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import type { TestDatabase } from './database.ts';

/** A run with what it hangs on. Rows are inserted as the superuser; what is under test then works as its own role. */
export interface RunFixture {
  agency: string;
  runId: string;
}

/** Inserts a pipeline (once per agency and name) and a run of it with `partitions` available partitions, numbered from 0. */
export async function insertRun(
  database: TestDatabase,
  agency: string,
  options: { pipeline?: string; classification?: number; partitions?: number; priority?: number } = {},
): Promise<RunFixture> {
  const { pipeline = 'sample', classification = 0, partitions = 1, priority = 0 } = options;
  const db = database.admin();
  await insertPipeline(db, agency, pipeline, classification);
  const { rows } = await db.query<{ run_id: string }>(sql`
    insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
      requested_by, payload)
    values (${agency}, ${pipeline}, 1, 'FULL', 'text', 'research', ${classification}, 'test', '{}')
    returning run_id
  `);
  const runId = (rows[0] as { run_id: string }).run_id;
  await db.query(sql`
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, priority)
    select ${agency}, ${runId}, n, 'BATCHES', 'FULL', ${priority}
    from generate_series(0, ${partitions - 1}::int) n
  `);
  return { agency, runId };
}

async function insertPipeline(db: Queryable, agency: string, name: string, classification: number): Promise<void> {
  await db.query(sql`
    insert into flux.connections (agency_id, name, kind, config, created_by)
    values (${agency}, 'files', 'file', '{}', 'test')
    on conflict do nothing
  `);
  await db.query(sql`
    insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, connection_name,
      definition, sha256, created_by)
    values (${agency}, ${name}, 1, ${name}, 'text', 'research', ${classification}, 'files', '{}',
      ${createHash('sha256').update('{}').digest()}, 'test')
    on conflict do nothing
  `);
}

/** A checkpoint's canonical body and its SHA-256, as the worker would write them. */
export function checkpointBytes(
  place: RunFixture & { partition: number; version: number; epoch: number; previousHash: string | null },
  extra: Record<string, string | number> = {},
): { body: Buffer; hash: Buffer } {
  const { agency, runId: run, partition, version, epoch, previousHash } = place;
  const body = canonicalBytes({ agency, run, partition, version, epoch, previousHash, ...extra });
  return { body, hash: createHash('sha256').update(body).digest() };
}
