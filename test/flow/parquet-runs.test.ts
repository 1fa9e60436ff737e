import { describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { parquetOf } from '../support/parquet.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'noaa');

const asked = { reason: 'mended', idempotencyKey: null };

async function run(name: string, engine?: Parameters<typeof field.drain>[0]) {
  const { id } = await field.start(name);
  await field.drain(engine);
  return { id, ...(await ended(id)) };
}
async function ended(id: string) {
  const { status, events } = await readRun(database, id);
  return { status, data: events.at(-1)?.data, plan: events.find(({ name }) => name === 'PlanMade')?.data };
}
async function forkOf(runId: string) {
  const { rows } = await database.admin().query<{ id: string }>(sql`
    select checkpoint_id as id from flux.checkpoints where run_id = ${runId} order by version desc limit 1
  `);
  const { id } = await forkRun(field.ctx().api, field.ctx(), {
    checkpointId: String(rows[0]?.id),
    pipeline: null,
    ...asked,
  });
  await field.drain();
  return ended(id);
}

describe('Parquet by a cursor, with fields that the contract does not name', () => {
  const define = async (levelMax: number) => {
    const version = await field.contract(
      'buoys',
      {
        id: { type: 'integer' },
        seen: { type: 'string', format: 'date-time' },
        level: { type: 'integer', maximum: levelMax },
      },
      { required: ['id', 'seen'], additionalProperties: false },
    );
    const rules = [{ path: '', rule: 'additionalProperties', mode: 'evolve' }];
    await field.pipeline('buoys', {
      source: {
        connection: 'files',
        path: 'buoys.parquet',
        format: { type: 'parquet' },
        incremental: { cursor: 'seen' },
      },
      contract: { name: 'buoys', version, rules, maxRejectedRatio: 1 },
      destination: { type: 'postgres', dataset: 'buoys', mode: 'merge', key: ['id'], evolve: true },
      batch: { records: 2 },
    });
  };
  /** Each row: id, second within the first minute of 2024, level, and what comes after. */
  const put = async (rows: readonly string[], more = '') =>
    field.put(
      'buoys.parquet',
      await parquetOf(
        `select id::int as id, timestamptz '2024-01-01 00:00:00+00' + to_microseconds(tick::bigint) as seen, level::int as level${more}
         from (values ${rows.map((row) => `(${row})`).join(', ')}) t(id, tick, level) order by id`,
      ),
    );
  const at = (tick: number) => `2024-01-01 00:00:00.00000${String(tick)}+00`;
  const mark = (after: string | null, value: string) => ({ increment: { cursor: 'seen', after, value } });
  const levels = async (columns = 'id level') =>
    (await field.rows('buoys', columns))
      .map((row) => Object.values(row).map((value) => (typeof value === 'bigint' ? Number(value) : value)))
      .sort(([a], [b]) => Number(a) - Number(b));

  it('loads what is new once, forks with the mark and the fields of its plan, and reprocesses what was rejected', async () => {
    await define(50);
    await put(['1, 1, 10', '2, 2, 20', '3, 3, 99']);
    expect(await run('buoys')).toMatchObject({
      status: 'COMPLETED',
      data: { read: 3, written: 2, rejected: 1, passedOver: 0 },
      plan: mark(null, at(2)),
    });

    const grown = ['1, 1, 10', '2, 2, 20', '3, 3, 99', '4, 4, 40', '5, 5, 99', '6, 6, 60', '7, 7, 30'];
    await put(grown, `, id / 2.0::double as wind, 'K' || id as "Seen by"`);
    const broken = await run('buoys', breaksAt(field.engine, 3));
    expect(broken).toMatchObject({ status: 'FAILED', plan: mark(at(2), at(7)) });
    // The source may have become anything: a fork reads what was pinned, as it was planned.
    await put(['9, 9, 9']);
    const forked = await forkOf(broken.id);
    expect(forked).toMatchObject({
      status: 'COMPLETED',
      data: { read: 7, written: 2, rejected: 3, passedOver: 2, filtered: 2 },
      plan: mark(at(2), at(7)),
    });
    expect(await levels('id level wind seen_by')).toEqual([
      [1, 10, null, null],
      [2, 20, null, null],
      [4, 40, 2, 'K4'],
      [7, 30, 3.5, 'K7'],
    ]);

    await define(100);
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select run_id as id from flux.runs where pipeline_name = 'buoys' and forked_from is not null
    `);
    const again = await reprocessRejected(field.ctx().api, field.ctx(), { runId: String(rows[0]?.id), ...asked });
    await field.drain();
    expect(await ended(again.id)).toMatchObject({ status: 'COMPLETED', data: { read: 3, written: 3, rejected: 0 } });
    expect(await levels('id level wind seen_by')).toEqual([
      [1, 10, null, null],
      [2, 20, null, null],
      [3, 99, 1.5, 'K3'],
      [4, 40, 2, 'K4'],
      [5, 99, 2.5, 'K5'],
      [6, 60, 3, 'K6'],
      [7, 30, 3.5, 'K7'],
    ]);

    // Behind the mark, without the fields that the dataset has by now.
    await put([...grown, '8, 8, 80']);
    expect(await run('buoys')).toMatchObject({
      status: 'COMPLETED',
      data: { read: 8, written: 1, rejected: 0, passedOver: 7 },
      plan: mark(at(7), at(8)),
    });
    expect((await levels('id level wind seen_by')).at(-1)).toEqual([8, 80, null, null]);
  });
});
