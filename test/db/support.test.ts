import { expect, test } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();

test('a test file has a migrated database of its own, with agencies that only their own tenant sees', async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  const { rows } = await inTenant(database.apiPool(), database.tenant('nasa'), (tx) =>
    tx.query(sql`select agency_id from flux.agencies`),
  );
  expect(rows).toEqual([{ agency_id: 'nasa' }]);
  const own = await database.agencyPool('noaa').query(sql`select flux.current_agency() as agency`);
  expect(own.rows).toEqual([{ agency: 'noaa' }]);
  const depth = await database.workerPool().query(sql`select flux.queue_depth() as depth`);
  expect(depth.rows).toEqual([{ depth: 0n }]);
});
