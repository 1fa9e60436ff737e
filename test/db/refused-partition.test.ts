import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import type { Connection } from '../../src/db/pool.ts';
import { ident, type Sql, sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { until } from '../support/runs.ts';

const database = useDatabase();
let runId: string;

beforeAll(async () => {
  await database.addAgency('nasa');
});
beforeEach(async () => {
  ({ runId } = await insertRun(database, 'nasa'));
});

const keep = (partitionNo: number, count = 3): Sql => sql`
  insert into flux.rejected_records (agency_id, run_id, record_no, partition_no, reasons)
  select 'nasa', ${runId}, n, case n when ${count} then ${partitionNo}::int else 0 end, '[]' from generate_series(1, ${count}::int) n
`;
const remove = (): Sql => sql`delete from flux.run_partitions where run_id = ${runId}`;
const asAgency = (): ReturnType<typeof database.agencyPool> => database.agencyPool('nasa');
const recordCount = async (): Promise<number> =>
  (await database.admin().query(sql`select from flux.rejected_records where run_id = ${runId}`)).rowCount;

/** Whether that session waits for another's lock. */
const waits = async (pid: number): Promise<boolean> =>
  (await database.admin().query(sql`select where cardinality(pg_blocking_pids(${pid}::int)) > 0`)).rowCount === 1;
const pidOf = async (connection: Connection): Promise<number> =>
  (await connection.query<{ pid: number }>(sql`select pg_backend_pid() as pid`)).rows[0]?.pid ?? 0;

describe('rejected records and their partition', () => {
  it('are kept by the agency’s session where it exists, and by nobody where it does not', async () => {
    await asAgency().query(keep(0));
    expect(await recordCount()).toBe(3);
    await database.admin().query(sql`delete from flux.rejected_records where run_id = ${runId}`);
    for (const db of [asAgency(), database.admin()]) {
      await expect(db.query(keep(7))).rejects.toMatchObject({
        code: '23503',
        message: expect.stringContaining('partition 7'),
      });
    }
    expect(await recordCount()).toBe(0);
  });

  it('hold it back while they name it', async () => {
    await asAgency().query(keep(0));
    await expect(database.admin().query(remove())).rejects.toMatchObject({ code: '23503' });
    await database.admin().query(sql`delete from flux.rejected_records where run_id = ${runId}`);
    expect((await database.admin().query(remove())).rowCount).toBe(1);
  });

  it('keep their names', async () => {
    await asAgency().query(keep(0));
    for (const table of ['rejected_records', 'run_partitions']) {
      for (const change of [sql`partition_no = 9`, sql`run_id = gen_random_uuid()`]) {
        await expect(
          database.admin().query(sql`update ${ident('flux', table)} set ${change} where run_id = ${runId}`),
        ).rejects.toMatchObject({ code: '23503' });
      }
    }
    await database.admin().query(sql`update flux.run_partitions set partition_no = 0 where run_id = ${runId}`);
  });

  it('make a session wait that takes it away meanwhile, and refuse it then', async () => {
    await asAgency().withConnection(async (writer) => {
      await writer.query(sql`begin`);
      await writer.query(keep(0));
      await database.admin().withConnection(async (remover) => {
        const pid = await pidOf(remover);
        const removed = remover.query(remove()).then(
          () => null,
          (cause: unknown) => cause,
        );
        await until(() => waits(pid));
        await writer.query(sql`commit`);
        expect(await removed).toMatchObject({ code: '23503' });
      });
    });
    expect(await recordCount()).toBe(3);
  });

  it('wait for a session that takes it away, and are refused then', async () => {
    await database.admin().withConnection(async (remover) => {
      await remover.query(sql`begin`);
      await remover.query(remove());
      await asAgency().withConnection(async (writer) => {
        const pid = await pidOf(writer);
        const kept = writer.query(keep(0)).then(
          () => null,
          (cause: unknown) => cause,
        );
        await until(() => waits(pid));
        await remover.query(sql`commit`);
        expect(await kept).toMatchObject({ code: '23503' });
      });
    });
    expect(await recordCount()).toBe(0);
  });

  it('are not overlooked in an old snapshot, nor by a session that may not see them', async () => {
    await database.admin().withConnection(async (remover) => {
      await remover.query(sql`begin isolation level repeatable read`);
      await remover.query(sql`select from flux.rejected_records limit 1`);
      await asAgency().query(keep(0));
      await expect(remover.query(remove())).rejects.toMatchObject({ code: '25001' });
      await remover.query(sql`rollback`);
      await remover.query(sql`begin`);
      await remover.query(sql`set local role ${ident(database.roles.definer)}`);
      await expect(remover.query(remove())).rejects.toMatchObject({ code: '42501' });
      await remover.query(sql`rollback`);
    });
  });
});
