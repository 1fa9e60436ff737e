import { beforeAll, describe, expect, it } from 'vitest';

import type { Connection } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { audit, createAuditTables, invariants } from '../chaos/invariants.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const values = [101, 102, 'bad', 104, 105, 106] as const;
let runId: string;

beforeAll(async () => {
  await database.addAgency('faa');
  await database.addAgency('nasa');
  await createAuditTables(database.admin());
  await bench.addPipeline({ agency: 'faa' });
  runId = await bench.queueRun('faa', 'numbers');
  await bench.drain(await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 })));
  for (const [i, value] of values.entries()) {
    const written = typeof value === 'number';
    await database.admin().query(sql`
      insert into chaos.expected (agency_id, run_id, record_no, value, fate)
      values ('faa', ${runId}, ${i + 1}, ${written ? value : null}, ${written ? 'written' : 'rejected'})
    `);
  }
  await database.admin().query(sql`
    insert into chaos.received (subscriber, position, run_id, seq)
    select 'reader', seq + 100, run_id, seq from flux.run_events
  `);
});

const someOf = async (db: Connection): Promise<string[]> => [...(await audit(db)).keys()];

/** Breaks something by hand, as somebody who may do anything; nothing of it stays. @returns the invariants that noticed */
async function broken(...statements: Sql[]): Promise<string[]> {
  return database.admin().withConnection(async (connection) => {
    await connection.query(sql`begin`);
    try {
      await connection.query(sql`set local session_replication_role = replica`);
      for (const statement of statements) expect((await connection.query(statement)).rowCount).toBeGreaterThan(0);
      return await someOf(connection);
    } finally {
      await connection.query(sql`rollback`);
    }
  });
}

it('finds nothing in a run that nobody disturbed', async () => {
  expect([...(await audit(database.admin()))]).toEqual([]);
  expect(invariants.map(({ name }) => name)).toEqual(['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9', 'I10']);
});

describe('each invariant notices what breaks it:', () => {
  it('I1, a row that is lost, one that is there twice, one that is not the source’s', async () => {
    expect(await broken(sql`delete from lake_faa.numbers where value = 104`)).toContain('I1');
    expect(await broken(sql`insert into lake_faa.numbers select * from lake_faa.numbers where value = 104`)).toContain(
      'I1',
    );
    expect(await broken(sql`update lake_faa.numbers set value = 7 where value = 104`)).toContain('I1');
    expect(await broken(sql`delete from flux.rejected_records`)).toContain('I1');
  });

  it('I2, a gap, a time that goes back, a second ending', async () => {
    expect(await broken(sql`delete from flux.run_events where seq = 4`)).toContain('I2');
    expect(await broken(sql`update flux.run_events set at = at - interval '1 hour' where seq = 4`)).toContain('I2');
    expect(await broken(sql`update flux.run_events set name = 'RunFailed' where seq = 4`)).toContain('I2');
    expect(await broken(sql`update flux.runs set last_seq = last_seq + 1`)).toContain('I2');
  });

  it('I3, a batch that comes twice, and an epoch that goes back', async () => {
    const second = sql`name = 'BatchCommitted' and data ->> 'batch' = '2'`;
    expect(await broken(sql`update flux.run_events set data = data || '{"batch": 1}' where ${second}`)).toContain('I3');
    expect(await broken(sql`update flux.run_events set data = data || '{"epoch": 0}' where ${second}`)).toContain('I3');
  });

  it('I4, an epoch that is taken twice, and a checkpoint of another epoch', async () => {
    const again = sql`
      update flux.run_events set name = 'PartitionTakenOver', data = data || '{"epoch": 1}'
      where name = 'BatchCommitted' and data ->> 'batch' = '2'
    `;
    expect(await broken(again)).toContain('I4');
    expect(await broken(sql`update flux.checkpoints set epoch = 9 where version = 2`)).toContain('I4');
  });

  it('I5, a checkpoint without its rows, its event or its audit entry, and rows without a checkpoint', async () => {
    expect(await broken(sql`delete from flux.checkpoints where version = 3`)).toContain('I5');
    expect(await broken(sql`delete from lake_faa.numbers where value = 101`)).toContain('I5');
    expect(
      await broken(sql`delete from flux.run_events where name = 'BatchCommitted' and data ->> 'batch' = '3'`),
    ).toContain('I5');
    expect(
      await broken(sql`delete from flux.audit_inbox where convert_from(body, 'UTF8') like '%batch.commit%'`),
    ).toContain('I5');
  });

  it('I6, changed bytes, a broken chain, another source', async () => {
    const byte = sql`update flux.checkpoints set body = overlay(body placing '\\x21'::bytea from 9) where version = 1`;
    expect(await broken(byte)).toContain('I6');
    expect(await broken(sql`update flux.checkpoints set previous_hash = sha256('x') where version = 2`)).toContain(
      'I6',
    );
    expect(await broken(sql`update flux.source_objects set sha256 = sha256('x')`)).toContain('I6');
  });

  it('I7, a run that does not end, and a partition that is left', async () => {
    expect(await broken(sql`update flux.runs set status = 'IN_PROGRESS', finished_at = null`)).toContain('I7');
    expect(await broken(sql`update flux.run_partitions set status = 'AVAILABLE' where partition_no = 1`)).toContain(
      'I7',
    );
  });

  it('I8, a row in another agency’s lake, and an audit entry about another agency’s run', async () => {
    const stray = sql`
      insert into chaos.expected (agency_id, run_id, record_no, value, fate) values ('nasa', flux.uuid_v7(), 1, 999, 'written')
    `;
    expect(await broken(stray, sql`update lake_faa.numbers set value = 999 where value = 104`)).toContain('I8');
    expect(await broken(sql`update flux.audit_inbox set agency_id = 'nasa'`)).toContain('I8');
  });

  it('I9, a batch after a cancel', async () => {
    const cancelled = sql`update flux.run_events set name = 'CancelRequested' where name = 'PlanMade'`;
    expect(await broken(cancelled)).toContain('I9');
  });

  it('I10, an event that did not come, came twice, or came late', async () => {
    expect(await broken(sql`delete from chaos.received where seq = 3`)).toContain('I10');
    expect(await broken(sql`update chaos.received set seq = 3 where seq = 4`)).toContain('I10');
    expect(await broken(sql`update chaos.received set position = 999 where seq = 3`)).toContain('I10');
  });
});
