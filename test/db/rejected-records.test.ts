import { beforeAll, expect, it } from 'vitest';

import type { Claim } from '../../src/db/queue.ts';
import { insertRejectedRecords, type NewRejectedRecord, writeRejected } from '../../src/db/rejected-records.ts';
import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.admin().query(sql`
    insert into flux.data_keys (agency_id, purpose, version, kek_id, wrapped) values ('nasa', 'records', 7, 'test', '\\x00')
  `);
});

const awkward = [
  '',
  'NULL',
  '{}',
  '"',
  '\\',
  '\\"',
  'a,b',
  ' x ',
  '\n\r\t',
  '{"a":"\\u0000"}',
  'é 漢 🙂',
  '\\x00',
  "'",
];

async function kept(records: readonly NewRejectedRecord[]): Promise<NewRejectedRecord[]> {
  const { runId } = await insertRun(database, 'nasa');
  const claim = { agencyId: 'nasa', runId, partitionNo: 0 } as Claim;
  const db = database.agencyPool('nasa');
  await insertRejectedRecords(db, claim, { name: 'c', version: 2 }, await writeRejected(records));
  const { rows } = await db.query<NewRejectedRecord>(sql`
    select record_no::float8 as "recordNo", byte_offset::float8 as "byteOffset", reasons, raw, sealed
    from flux.rejected_records where run_id = ${runId} and partition_no = 0 and contract_name = 'c' and contract_version = 2
    order by record_no
  `);
  return rows;
}

it('rejected records come back as they were, whatever their texts hold', async () => {
  const records = awkward.map((text, at): NewRejectedRecord => ({
    recordNo: at + 1,
    byteOffset: at % 2 === 0 ? null : 2 ** 40 + at,
    reasons: at === 0 ? [] : [{ path: `/${text}`, rule: 'type', message: text }],
    raw: at === 3 ? null : text,
    sealed: at % 3 === 0 ? Buffer.from([1, 0, 0, 0, 7, at, 0x5c, 0x22, 0xff]) : null,
  }));
  expect(await kept(records)).toEqual(records);
});

it('what PostgreSQL cannot store of them is replaced', async () => {
  const [record] = await kept([{ recordNo: 1, byteOffset: 0, reasons: [], raw: 'a\0b\ud800', sealed: null }]);
  expect(record?.raw).toBe('a\u2400b\ufffd');
});

it('none, and more than one statement takes, are all kept', async () => {
  expect(await kept([])).toEqual([]);
  const records = Array.from({ length: 5_001 }, (_, at) => ({
    recordNo: at + 1,
    byteOffset: at,
    reasons: [],
    raw: String(at),
    sealed: null,
  }));
  expect(await kept(records)).toEqual(records);
});
