import { describe, expect, it } from 'vitest';

import { reconciliationOf } from '../../resolvers/run.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'noaa');

const states = ['MD', 'VA', 'DC'];
/** 90 visits of 30 people, of which two stand alone in their state; visit 7 is broken. */
const visits = Array.from({ length: 90 }, (_each, i) => {
  const state = i === 40 || i === 41 ? 'AK' : states[i % 3];
  return `${i === 6 ? 'seven' : String(i + 1)},person-${String(i % 30)},${String(state)},${String(20 + (i % 30))}`;
});
const properties = {
  id: { type: 'integer' },
  person: { type: 'string' },
  state: { type: 'string' },
  age: { type: 'integer' },
};

async function pipeline(name: string, transforms: readonly object[]): Promise<void> {
  await field.put(`${name}.csv`, `id,person,state,age\n${visits.join('\n')}\n`);
  await field.contract(name, properties, { required: ['id'] });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version: 1, maxRejectedCount: 1 },
    transforms,
    batch: { records: 20 },
  });
}

const run = async (name: string, more: Parameters<typeof field.start>[1] = {}) => {
  const started = await field.start(name, more);
  await field.drain();
  const told = await reconciliationOf(field.ctx(), started);
  return { ...(await readRun(database, started.id)), told };
};

describe('a run whose records are sterilised', () => {
  it('suppresses small groups, and its report proves on the load that none is left', async () => {
    const kAnonymity = { k: 5, columns: ['state'] };
    await pipeline('visits', [{ type: 'sterilise', generalise: { age: { band: 10 } }, drop: ['person'], kAnonymity }]);
    const { status, events, told } = await run('visits');
    expect(events.at(-1)?.data).toMatchObject({
      read: 90,
      written: 87,
      rejected: 1,
      filtered: 2,
      reconciled: true,
      privacy: [{ rule: 'k-anonymity', k: 5, columns: ['state'], groups: 3, smallest: 29, suppressed: 2 }],
    });
    expect(status).toBe('COMPLETED');
    expect(told?.differences).toEqual([]);
    expect(await field.rows('visits', 'state age')).toHaveLength(87);
  });

  it('publishes nothing where a later step makes a group smaller than was promised', async () => {
    await pipeline('thinned', [
      { type: 'sterilise', kAnonymity: { k: 5, columns: ['state'] } },
      { type: 'filter', rule: 'a few of one state', sql: "state <> 'VA' or id < 10" },
    ]);
    const { status, events } = await run('thinned');
    expect(status).toBe('FAILED');
    expect(events.at(-1)?.data).toMatchObject({ code: 'PRIVACY_NOT_HELD' });
  });

  it('shows records in and out of steps that make others of them, and adds up, in one run and by stages', async () => {
    await pipeline('by-state', [
      { type: 'deduplicate', key: ['person', 'state'] },
      { type: 'aggregate', groupBy: ['state'], measures: { people: 'count(*)' } },
      { type: 'sterilise', minimumCell: { count: 'people', minimum: 5 } },
    ]);
    const { status, told, events } = await run('by-state');
    expect(events.at(-1)?.data).toMatchObject({
      privacy: [
        {
          rule: 'minimum-cell',
          minimum: 5,
          column: 'people',
          smallest: 10,
          complementary: 'no totals',
          suppressed: 1,
        },
      ],
    });
    expect(status).toBe('COMPLETED');
    expect(told?.differences).toEqual([]);
    const kinds = told?.steps.map(({ kind, recordsIn, recordsOut }) => [kind, Number(recordsIn), Number(recordsOut)]);
    expect(kinds?.slice(2)).toEqual([
      ['deduplicate', 89, 32],
      ['aggregate', 32, 4],
      ['row', 4, 4],
      ['filter', 4, 3],
      ['write', 3, 3],
    ]);
    const whole = await field.rows('by_state', 'state people');
    for (const stage of ['INGEST', 'TRANSFORM', 'EXPORT'] as const)
      expect(await run('by-state', { stage })).toMatchObject({ status: 'COMPLETED', told: { differences: [] } });
    expect(await field.rows('by_state', 'state people')).toEqual(whole);
  });
});
