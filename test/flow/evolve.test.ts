import { describe, expect, it } from 'vitest';

import { dryRunPlanOf } from '../../resolvers/run.ts';
import { sql } from '../../src/db/sql.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import { auditOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'cdc');

const first = { id: { type: 'integer' }, site: { type: 'string' } };
const second = {
  ...first,
  seen: { type: ['string', 'null'], format: 'date-time' },
  level: { type: ['number', 'null'] },
};

async function define(name: string, properties: object, destination: object): Promise<void> {
  const version = await field.contract(name, { ...properties }, { required: ['id'] });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.ndjson`, format: { type: 'ndjson' } },
    contract: { name, version },
    destination: { type: 'postgres', dataset: name, mode: 'append', ...destination },
  });
}
const put = (name: string, ...records: object[]) =>
  field.put(`${name}.ndjson`, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
async function load(name: string, ...records: object[]): Promise<Awaited<ReturnType<typeof readRun>>> {
  await put(name, ...records);
  const { id } = await field.start(name);
  await field.drain();
  return readRun(database, id);
}
const failed = (message: RegExp) => ({
  code: 'DESTINATION_CONFLICT',
  message: expect.stringMatching(message) as string,
});
const old = { id: 1, site: 'a' };
const now = { id: 2, site: 'b', seen: '2024-05-06T07:08:09Z', level: 1.5 };

describe('a pipeline whose dataset may evolve', () => {
  it('gives it columns for new optional fields, which are null in what stands there; the history and the audit log say so', async () => {
    await define('grows', first, {});
    expect((await load('grows', old)).status).toBe('COMPLETED');

    await define('grows', second, {});
    expect((await load('grows', now)).events.at(-1)?.data).toMatchObject(failed(/Only the output: level .*seen/));

    await define('grows', second, { evolve: true });
    await put('grows', now, { id: 3 });
    const dry = await field.start('grows', { dryRun: true });
    await field.drain();
    const plan = await dryRunPlanOf(field.ctx(), dry);
    expect(plan?.destination).toMatchObject({ fits: true, removed: [], changed: [] });
    expect(plan?.destination?.added.map(({ name }) => name).sort()).toEqual(['level', 'seen']);

    const { id } = await field.start('grows');
    await field.drain();
    const { status, events } = await readRun(database, id);
    expect(status).toBe('COMPLETED');
    const made = events.find(({ name }) => name === 'PlanMade');
    const added = [
      { name: 'level', type: 'double precision' },
      { name: 'seen', type: 'timestamptz' },
    ];
    expect(made?.data).toMatchObject({ dataset: 'grows', columnsAdded: added });
    const { rows } = await database.admin().query<{ message: string; columns: unknown }>(sql`
      select
        (select message from flux.run_events where run_id = ${id} and name = 'PlanMade') as message,
        (select columns from flux.datasets where name = 'grows') as columns
    `);
    expect(rows[0]?.message).toContain('The dataset grows got new columns: level, seen.');
    const entry = (await auditOf(database, 'cdc')).find(
      (each) => each.action === 'run.plan' && each.resource_id === id,
    );
    expect(entry?.body['after']).toMatchObject({ columnsAdded: added });
    expect(rows[0]?.columns).toEqual([{ name: 'id', type: 'bigint' }, { name: 'site', type: 'text' }, ...added]);
    const found = await field.rows('grows', 'id site seen level');
    expect(found.sort((a, b) => Number(a['id']) - Number(b['id']))).toEqual([
      { id: 1n, site: 'a', seen: null, level: null },
      { id: 2n, site: 'b', seen: new Date('2024-05-06T07:08:09Z'), level: 1.5 },
      { id: 3n, site: null, seen: null, level: null },
    ]);

    const again = await load('grows', now);
    expect(again.events.find(({ name }) => name === 'PlanMade')?.data).not.toHaveProperty('columnsAdded');
    expect(again.status).toBe('COMPLETED');
  });

  it('never takes a column away, and never changes a type', async () => {
    await define('keeps', second, { evolve: true });
    expect((await load('keeps', now)).status).toBe('COMPLETED');
    await define('keeps', first, { evolve: true });
    expect((await load('keeps', old)).events.at(-1)?.data).toMatchObject(failed(/Only the dataset: level/));
    await define('keeps', { ...second, level: { type: ['string', 'null'] } }, { evolve: true });
    expect((await load('keeps', { id: 4 })).events.at(-1)?.data).toMatchObject(
      failed(/Only the dataset: level double precision.*Only the output: level text/),
    );
  });

  it('publishes a load that was opened before the dataset got its columns', async () => {
    await define('between', first, {});
    expect((await load('between', old)).status).toBe('COMPLETED');
    await put('between', { id: 7, site: 'late' });
    const { id } = await field.start('between');
    await field.drain({
      ...field.engine,
      async *openBatches() {
        await Promise.resolve();
        throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
      },
    });
    expect((await readRun(database, id)).status).toBe('FAILED');
    await define('between', second, { evolve: true });
    expect((await load('between', now)).status).toBe('COMPLETED');
    await put('between', { id: 7, site: 'late' });
    await resumeRun(field.ctx().api, field.ctx(), { runId: id, reason: 'mended', idempotencyKey: null });
    await field.drain();
    expect((await readRun(database, id)).status).toBe('COMPLETED');
    const found = await field.rows('between', 'id level');
    expect(found.sort((a, b) => Number(a['id']) - Number(b['id']))).toEqual([
      { id: 1n, level: null },
      { id: 2n, level: 1.5 },
      { id: 7n, level: null },
    ]);
  });

  it('takes fields that no contract names where the rule says so, and says which; reprocessing keeps them', async () => {
    const version = await field.contract(
      'found',
      { id: { type: 'integer' }, site: { type: 'string', maxLength: 4 } },
      {
        required: ['id'],
        additionalProperties: false,
      },
    );
    const rules = [{ path: '', rule: 'additionalProperties', mode: 'evolve' }];
    const pipeline = (more: object) =>
      field.pipeline('found', {
        source: { connection: 'files', path: 'found.ndjson', format: { type: 'ndjson' } },
        contract: { name: 'found', version, maxRejectedRatio: 1, ...more },
        destination: { type: 'postgres', dataset: 'found', mode: 'append', evolve: true },
      });
    await pipeline({});
    expect((await load('found', { id: 1, site: 'a' })).status).toBe('COMPLETED');
    expect((await load('found', { id: 9, wind: 3 })).events.at(-1)?.data).toMatchObject({ rejected: 1, written: 0 });

    await pipeline({ rules });
    await put('found', { id: 2, site: 'b', wind: 3, 'Seen by': 'K' }, { id: 3, site: 'too long', wind: 4 });
    const { id } = await field.start('found');
    await field.drain();
    const { status, events } = await readRun(database, id);
    expect(status).toBe('COMPLETED');
    const told = {
      fieldsEvolved: [
        { field: 'wind', column: 'wind' },
        { field: 'Seen by', column: 'seen_by' },
      ],
    };
    expect(events.find(({ name }) => name === 'PlanMade')?.data).toMatchObject({
      ...told,
      columnsAdded: [
        { name: 'wind', type: 'bigint' },
        { name: 'seen_by', type: 'text' },
      ],
    });
    const entry = (await auditOf(database, 'cdc')).find(
      (each) => each.action === 'run.plan' && each.resource_id === id,
    );
    expect(entry?.body['after']).toMatchObject(told);

    const later = await load('found', { id: 4, wind: 5.5 }, { id: 5 });
    expect(later.status).toBe('COMPLETED');
    expect(later.events.at(-1)?.data).toMatchObject({ read: 2, written: 1, rejected: 1 });

    const wider = await field.contract(
      'found',
      { id: { type: 'integer' }, site: { type: 'string' } },
      {
        required: ['id'],
        additionalProperties: false,
      },
    );
    await field.pipeline('found', {
      source: { connection: 'files', path: 'found.ndjson', format: { type: 'ndjson' } },
      contract: { name: 'found', version: wider, maxRejectedRatio: 1, rules },
      destination: { type: 'postgres', dataset: 'found', mode: 'append', evolve: true },
    });
    await reprocessRejected(field.ctx().api, field.ctx(), { runId: id, reason: 'mended', idempotencyKey: null });
    await field.drain();
    const found = await field.rows('found', 'id site wind seen_by');
    expect(found.sort((a, b) => Number(a['id']) - Number(b['id']))).toEqual([
      { id: 1n, site: 'a', wind: null, seen_by: null },
      { id: 2n, site: 'b', wind: 3n, seen_by: 'K' },
      { id: 3n, site: 'too long', wind: 4n, seen_by: null },
      { id: 5n, site: null, wind: null, seen_by: null },
    ]);
  });

  it('refuses at registration a mode that fits nothing', async () => {
    const version = await field.contract('unfit', { id: { type: 'integer' } }, { required: ['id'] });
    const rules = [
      { path: '/idd', rule: 'type', mode: 'freeze' },
      { path: '/id', rule: 'type', mode: 'drop_value' },
    ];
    const registered = field.pipeline('unfit', {
      source: { connection: 'files', path: 'unfit.ndjson', format: { type: 'ndjson' } },
      contract: { name: 'unfit', version, rules },
    });
    await expect(registered).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      details: { issues: [{ path: '/contract/rules/0/path' }, { path: '/contract/rules/1/mode' }] },
    });
  });
});
