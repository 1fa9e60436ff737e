/**
 * Users of several agencies at work at once, on real processes: whatever any of them is answered is looked through for another agency's
 * ids and data, and every subscription for gaps and repeats. How fast it is says `node bench/load.ts`; here only what is right counts.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { eventually, temporaryFolder } from '../support/flux.ts';
import { type Installation, openInstallation } from '../support/load/installation.ts';
import { type Load, registerLoad, startLoad } from '../support/load/load.ts';

const agencies = ['load-north', 'load-south', 'load-west'];
const options = { agencies, usersPerAgency: 3, records: 400, batchRecords: 50, thinkMs: 200, cancelEvery: 2 };
/** So many runs are started before the users are let go. */
const runs = 12;

const database = useDatabase();
let installation: Installation;
let remove: () => Promise<void>;
let load: Load | undefined;

beforeAll(async () => {
  const temporary = await temporaryFolder('load');
  ({ remove } = temporary);
  installation = await openInstallation({
    folder: temporary.folder,
    adminUrl: database.adminUrl,
    contextKey: database.contextKey,
    dataKey: testDataKey,
    agencies,
    records: options.records,
  });
});
afterAll(async () => {
  load?.stop();
  await installation.close();
  await remove();
});

test(
  'no answer holds what is another agency’s, no event is missing, and every run ends as it has to',
  { timeout: 600_000 },
  async () => {
    for (const it of ['sealer', 'worker', 'worker', 'serve', 'serve'] as const) await installation.start(it);
    await registerLoad(installation, options);
    load = startLoad(installation, options);
    const { ledger, isolation, events } = load;
    await eventually(
      () => ledger.runs.size,
      (count) => count >= runs,
      400_000,
    );
    await load.finish();
    expect(ledger.failures).toEqual([]);
    expect(ledger.mistakes).toEqual([]);
    expect(isolation.breaches).toEqual([]);
    expect(events.faults).toEqual([]);
    expect([...ledger.runs.values()].filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
    expect([...ledger.runs.values()].some(({ cancelled }) => cancelled)).toBe(true);
    // None of the above means anything unless there was something to look through.
    expect(ledger.probes).toBeGreaterThan(0);
    expect(isolation.ids).toBeGreaterThan(ledger.runs.size);
    expect(events.events).toBeGreaterThan(ledger.runs.size * 5);
    expect(isolation.answers).toBeGreaterThan(events.events);
  },
);
