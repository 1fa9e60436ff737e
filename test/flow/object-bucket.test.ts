/** Pinned objects in a bucket: the hosts of a run share a database and a bucket, and no disk. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { openObjectStore } from '../../src/objects/open-object-store.ts';
import { useDatabase } from '../support/database.ts';
import { registerPipeline } from '../support/register-pipeline.ts';
import { findS3Server, noS3Server, type S3Server, startS3Server } from '../support/s3-server.ts';
import { useWorkerBench } from '../support/worker.ts';
import { codeFolder } from '../support/code-folder.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const hosts = ['a', 'b', 'c'];
const records = 250_000;
let folder: string;
let server: S3Server | null = null;

beforeAll(async () => {
  const program = findS3Server();
  if (program !== null) server = await startS3Server(program);
  folder = await mkdtemp(path.join(tmpdir(), 'flux bucket '));
  await mkdir(path.join(folder, 'sources'));
  const lines = Array.from({ length: records }, (_, i) => `${String(i)},${'x'.repeat(20)}`);
  await writeFile(path.join(folder, 'sources', 'list'), `n,text\n${lines.join('\n')}\n`);
  await database.addAgency('nasa');
  await registerPipeline(database, {
    agency: 'nasa',
    definition: {
      name: 'numbers',
      source: { connection: 'files', path: 'list', format: { type: 'csv' } },
      contract: { name: 'numbers', version: 1 },
      batch: { records: 50_000 },
      destination: { type: 'postgres', dataset: 'numbers', mode: 'append' },
    },
    contract: { type: 'object', properties: { n: { type: 'integer' }, text: { type: 'string' } } },
  });
});
afterAll(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const engineOn = async ({ bucket, url, credentials }: S3Server, host: string): Promise<EtlEngine> =>
  createEtlEngine({
    ...codeFolder,
    objects: await openObjectStore({
      dataKey: Buffer.alloc(32, 7),
      objectStoreFolder: path.join(folder, host),
      objectStoreBucket: {
        bucket,
        prefix: 'flux/',
        region: 'us-east-1',
        endpoint: url,
        credentials,
        cacheBytesMax: 2 ** 40,
      },
    }),
    sourceRoots: { nasa: [path.join(folder, 'sources')] },
  });

it('a run whose steps are done on other hosts than the one that pinned its source loses nothing', async ({ skip }) => {
  if (server === null) return skip(noS3Server);
  const engines = await Promise.all(hosts.map((host) => engineOn(server as S3Server, host)));
  const [first, ...others] = engines as [EtlEngine, EtlEngine, EtlEngine];
  let turn = 0;
  const next = (): EtlEngine => others[(turn += 1) % others.length] as EtlEngine;
  const spread: EtlEngine = {
    ...first,
    planSource: (request) => next().planSource(request),
    openBatches: (request) => next().openBatches(request),
  };
  const runId = await bench.queueRun('nasa', 'numbers');
  await bench.drain(await bench.deps(spread, { quantumBatches: 1 }));
  const { rows } = await database.admin().query(sql`
    select status, failure_message from flux.runs where run_id = ${runId}
  `);
  expect(rows).toEqual([{ status: 'COMPLETED', failure_message: null }]);
  const { rows: landed } = await database
    .agencyPool('nasa', 'ro')
    .query(sql`select count(*)::int as n, count(distinct n)::int as different from lake_nasa.numbers`);
  expect(landed).toEqual([{ n: records, different: records }]);
  for (const host of hosts) expect(await readdir(path.join(folder, host, 'nasa')), host).toHaveLength(1);
}, 120_000);
