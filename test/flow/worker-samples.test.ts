import { mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ident, sql } from '../../src/db/sql.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine, PipelineDefinition } from '../../src/etl/engine-types.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { useDatabase } from '../support/database.ts';
import { registerPipeline } from '../support/register-pipeline.ts';
import { sampleContract, sampleDataFolder, samplePipelineDefinition, samplePipelines } from '../support/samples.ts';
import { useWorkerBench } from '../support/worker.ts';
import { codeFolder } from '../support/code-folder.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agencies = [...new Set(samplePipelines.map(({ agency }) => agency))];
let folder: string;
let engine: EtlEngine;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux flow '));
  engine = createEtlEngine({
    ...codeFolder,
    objects: createFileStore({ folder, dataKey: Buffer.alloc(32, 7) }),
    sourceRoots: Object.fromEntries(agencies.map((agency) => [agency, [sampleDataFolder]])),
  });
  for (const agency of agencies) await database.addAgency(agency);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the sample pipelines, from file to lake', () => {
  it.for(samplePipelines)(
    '$agency/$pipeline completes with the counts of an independent reader',
    async (sample, { skip }) => {
      const definition = samplePipelineDefinition(sample.agency, sample.pipeline) as PipelineDefinition;
      if (!existsSync(path.join(sampleDataFolder, definition.source.path))) skip('vega-datasets is not installed');
      await registerPipeline(database, {
        agency: sample.agency,
        definition,
        contract: sampleContract(sample.agency, sample.contract),
      });
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
