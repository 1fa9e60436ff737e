import { mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ident, sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine, PipelineDefinition } from '../../src/etl/engine-types.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { useDatabase } from '../support/database.ts';
import { sampleContract, sampleDataFolder, samplePipelineDefinition, samplePipelines } from '../support/samples.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agencies = [...new Set(samplePipelines.map(({ agency }) => agency))];
let folder: string;
let engine: EtlEngine;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux flow '));
  engine = createEtlEngine({
    objects: createFileStore({ folder, dataKey: Buffer.alloc(32, 7) }),
    sourceRoots: Object.fromEntries(agencies.map((agency) => [agency, [sampleDataFolder]])),
  });
  for (const agency of agencies) await database.addAgency(agency);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function register(agency: string, definition: PipelineDefinition, contract: unknown): Promise<void> {
  const { name, source } = definition;
  const { name: contractName, version } = definition.contract as { name: string; version: number };
  await inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
    await tx.query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by)
      values (${agency}, ${source.connection}, 'file', '{"roots": ["."]}', 'test')
      on conflict do nothing
    `);
    await tx.query(sql`
      insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
      values (${agency}, ${contractName}, ${version}, ${JSON.stringify(contract)}, ${Buffer.alloc(32)}, 'test')
    `);
    await tx.query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
        contract_version, connection_name, definition, sha256, created_by)
      values (${agency}, ${name}, 1, ${name}, 'text', 'research', 0, ${contractName}, ${version}, ${source.connection},
        ${JSON.stringify(definition)}, ${Buffer.alloc(32)}, 'test')
    `);
  });
}

describe('the sample pipelines, from file to lake', () => {
  it.for(samplePipelines)(
    '$agency/$pipeline completes with the counts of an independent reader',
    async (sample, { skip }) => {
      const definition = samplePipelineDefinition(sample.agency, sample.pipeline) as PipelineDefinition;
      if (!existsSync(path.join(sampleDataFolder, definition.source.path))) skip('vega-datasets is not installed');
      await register(sample.agency, definition, sampleContract(sample.agency, sample.contract));
      const runId = await bench.queueRun(sample.agency, definition.name);
      await bench.drain(await bench.deps(engine));

      const { rows } = await database.admin().query<{ status: string; failure_message: string | null }>(sql`
        select status, failure_message from flux.runs where run_id = ${runId}
      `);
      expect(rows).toEqual([{ status: 'COMPLETED', failure_message: null }]);
      const { rows: ended } = await database.admin().query<{ data: object }>(sql`
        select data from flux.run_events where run_id = ${runId} and name = 'RunCompleted'
      `);
      const { read, written, rejected, filtered } = sample;
      expect(ended[0]?.data).toEqual({ read, written, rejected, filtered, reconciled: true });
      const lake = ident(`lake_${sample.agency}`, definition.destination.dataset);
      const { rows: found } = await database
        .agencyPool(sample.agency, 'ro')
        .query(sql`select count(*)::int as n from ${lake}`);
      expect(found).toEqual([{ n: written }]);
    },
  );
});
