import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';

import { describe, expect, it } from 'vitest';

import { dryRunPlanOf } from '../../resolvers/run.ts';
import { ident, sql } from '../../src/db/sql.ts';
import type { Run } from '../../src/db/runs.ts';
import { replayRun } from '../../src/domain/replay-run.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { auditOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'ssa');

const people = (count: number): string =>
  'id,ssn,mail,level\n' +
  Array.from(
    { length: count },
    (_each, i) => `${i % 10 === 9 ? 'none' : String(i + 1)},078-05-${String(1_000 + i)},p${i}@example.gov,${i % 5}\n`,
  ).join('');

async function pipeline(name: string, more: Record<string, unknown> = {}): Promise<void> {
  await field.put(`${name}.csv`, people(200));
  const text = { type: 'string' };
  await field.contract(name, { id: { type: 'integer' }, ssn: text, mail: text, level: { type: 'integer' } });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version: 1, maxRejectedRatio: 0.5 },
    transforms: [{ type: 'filter', sql: 'level > 0', rule: 'levelled' }],
    ...more,
  });
}
const planOf = (run: Run) => dryRunPlanOf(field.ctx(), run);

/** Every row of every table of Flux and of the lakes, with the transaction that wrote it, as one digest a table. */
async function everything(except: { run: string } | null): Promise<Record<string, string>> {
  const { rows: tables } = await database.admin().query<{ schema: string; name: string; run: boolean }>(sql`
    select n.nspname as schema, c.relname as name,
      exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'run_id' and not a.attisdropped) as run
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'flux' or n.nspname like 'lake%') and c.relkind = 'r'
    order by 1, 2
  `);
  const digests: Record<string, string> = {};
  for (const { schema, name, run } of tables) {
    const own = run && except ? sql`where run_id <> ${except.run}` : sql``;
    const { rows } = await database.admin().query<{ line: string }>(sql`
      select t.xmin::text || ' ' || t.ctid::text || ' ' || t::text as line from ${ident(schema, name)} t ${own} order by 1
    `);
    digests[`${schema}.${name}`] = createHash('sha256')
      .update(rows.map(({ line }) => line).join('\n'))
      .digest('hex');
  }
  return digests;
}

describe('a dry run', () => {
  it('says what a run would do, and a run then does it', async () => {
    await pipeline('told');
    const run = await field.start('told', { dryRun: true });
    expect(run.payload['dry_run']).toBe(true);
    expect(await planOf(run)).toBeNull();
    expect(await field.drain()).toEqual(['completed']);
    const plan = await planOf(run);
    expect(plan).toMatchObject({
      origin: 'file:told.csv',
      recordsTotal: 200,
      bytesTotal: Buffer.byteLength(people(200)),
      sha256: createHash('sha256').update(people(200)).digest('hex'),
      estimate: { recordsWritten: 140, recordsRejected: 20, recordsFiltered: 40 },
      partitions: [{ record: 0, records: 200 }],
      sample: { recordsRead: 200, recordsGood: 140, recordsRejected: 20, recordsFiltered: 40 },
      destination: { dataset: 'told', mode: 'replace', exists: false, fits: true, loads: 0, records: '0' },
    });
    expect(plan?.steps.map(({ step }) => step)).toEqual(['read', 'validate', 'filter levelled', 'write']);
    expect(plan?.sample.findings).toMatchObject([{ path: '/id', rule: 'type', count: 20, recordNo: 10 }]);
    expect(plan?.sample.personalData).toEqual([
      { column: 'mail', kind: 'EMAIL', matches: 140, checked: 140 },
      { column: 'ssn', kind: 'SSN', matches: 140, checked: 140 },
    ]);

    await field.start('told');
    await field.drain();
    expect(await field.rows('told', 'id')).toHaveLength(140);
    const again = await field.start('told', { dryRun: true });
    await field.drain();
    expect((await planOf(again))?.destination).toMatchObject({
      exists: true,
      loads: 1,
      records: '140',
      supersededLoads: 1,
    });
    const replay = await replayRun(field.ctx().api, field.ctx(), {
      runId: again.id,
      reason: null,
      idempotencyKey: null,
    });
    expect(replay.differences).toEqual([]);
  });

  it('writes nothing but its own row, its partition, its history and its audit entries', async () => {
    await pipeline('nothing');
    await field.start('nothing');
    await field.drain();
    const run = await field.start('nothing', { dryRun: true });
    const objects = await field.objects();
    const audited = (await auditOf(database, 'ssa')).length;
    const before = await everything({ run: run.id });
    const deps = await bench.deps(field.engine, { keys: field.keys });
    expect(await executePartition(deps, await bench.claim(), new AbortController().signal)).toBe('completed');
    const after = await everything({ run: run.id });
    const changed = Object.keys(after).filter((table) => before[table] !== after[table]);
    // Whose turn it is, and the audit entry of the end.
    expect(changed).toEqual(['flux.agency_turns', 'flux.audit_inbox']);
    expect(await field.objects()).toEqual(objects);
    expect(await readdir(deps.config.workFolder)).toEqual([]);

    const own = await everything(null);
    const withRows = Object.keys(own).filter((table) => own[table] !== after[table]);
    expect(withRows).toEqual(expect.arrayContaining(['flux.run_events', 'flux.run_partitions', 'flux.runs']));
    const rowsOfRun = async (table: string): Promise<number> => {
      const { rows } = await database.admin().query<{ n: number }>(sql`
        select count(*)::int as n from ${ident('flux', table)} where run_id = ${run.id}
      `);
      return rows[0]?.n ?? 0;
    };
    for (const table of ['checkpoints', 'loads', 'rejected_records', 'run_parts', 'source_objects', 'step_counts']) {
      expect([table, await rowsOfRun(table)]).toEqual([table, 0]);
    }
    expect(await rowsOfRun('run_partitions')).toBe(1);
    const { events } = await readRun(database, run.id);
    expect(events.map(({ name }) => name)).toEqual(['RunQueued', 'RunStarted', 'PartitionClaimed', 'RunCompleted']);
    expect((await auditOf(database, 'ssa')).slice(audited).map(({ action }) => action)).toEqual([
      'partition.take',
      'run.complete',
    ]);
  });

  it('tells what does not fit the dataset, and fails as a run would where the source is not there', async () => {
    await pipeline('misfit');
    await field.start('misfit');
    await field.drain();
    await field.pipeline('misfit', {
      source: { connection: 'files', path: 'misfit.csv', format: { type: 'csv', header: true } },
      contract: { name: 'misfit', version: 1, maxRejectedRatio: 0.5 },
      transforms: [
        { type: 'rename', columns: { mail: 'address' } },
        { type: 'cast', column: 'level', to: 'text' },
      ],
    });
    const run = await field.start('misfit', { dryRun: true });
    await field.drain();
    expect((await planOf(run))?.destination).toMatchObject({
      fits: false,
      added: [{ name: 'address', type: 'text' }],
      removed: [{ name: 'mail', type: 'text' }],
      changed: [{ name: 'level', from: 'bigint', to: 'text' }],
    });
    const payload = {
      agency: 'ssa',
      content_type: 'text',
      use_case: 'research',
      dry_run: true,
      source: 'gone.csv',
      metadata: { pipeline: 'misfit' },
    };
    const gone = await field.start('', { pipeline: null, payload });
    await field.drain();
    expect((await readRun(database, gone.id)).events.at(-1)?.data).toMatchObject({ code: 'SOURCE_INVALID' });
  });

  it('tells of one stage alone, from the parts that it would read', async () => {
    await pipeline('staged');
    await field.start('staged', { stage: 'INGEST' });
    await field.drain();
    const run = await field.start('staged', { stage: 'TRANSFORM', dryRun: true });
    await field.drain();
    expect(await planOf(run)).toMatchObject({
      recordsTotal: 180,
      sample: { recordsRead: 180, recordsGood: 140, recordsFiltered: 40 },
      destination: null,
    });
    await expect(field.start('staged', { stage: 'EXPORT', dryRun: true })).rejects.toMatchObject({
      code: 'STAGE_INPUT_MISSING',
    });
  });
});
