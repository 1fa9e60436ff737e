import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Role } from '../../src/auth/roles.ts';
import { sql } from '../../src/db/sql.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { lookOnce } from '../../src/worker/scheduler.ts';
import { principalOf, silentHints } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { type Ended, flux } from '../support/flux.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
let server: ApiServer;
let home: string;

beforeAll(async () => {
  await database.addAgency('nasa');
  await bench.addPipeline({ agency: 'nasa', name: 'dated', path: 'in/{date}.csv' });
  home = await mkdtemp(path.join(tmpdir(), 'flux home '));
  server = await startApiServer(database, {
    environment: 'development',
    hints: silentHints(),
    // Who may speak for whom is test/unit/auth's affair; here a token is `<agency>/<role>`.
    authenticator: {
      authenticate(token) {
        const [agency = '', role = 'viewer'] = token.split('/');
        return Promise.resolve(principalOf(agency, { role: role as Role }));
      },
    },
  });
});
afterAll(async () => {
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

const command = (...args: string[]): Promise<Ended> =>
  flux(args, { home, env: { FLUX_URL: server.url, FLUX_TOKEN: 'nasa/operator' } });
const look = async (): Promise<void> =>
  lookOnce(await bench.deps(fakeEngine({ values: [1], partitions: 1, batchRecords: 1 })));

describe('on the command line', () => {
  it('a schedule is made, shown with its ticks, paused, resumed and removed', async () => {
    const made = await command('schedules', 'create', 'nightly', '--pipeline', 'dated', '--cron', '* * * * *', '--time-zone', 'America/New_York', '--overlap', 'queue'); // prettier-ignore
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(made.stdout).toMatch(/^Schedule nightly is ACTIVE; its next tick is at \d{4}-/);
    expect((await command('schedules', 'list')).stdout).toMatch(
      /nightly +dated +ACTIVE .*QUEUE +LATEST +America\/New_York +\* \* \* \* \*/,
    );
    await database.admin().query(sql`update flux.schedules set next_tick_at = date_trunc('minute', clock_timestamp())`);
    await look();
    const shown = JSON.parse((await command('schedules', 'show', 'nightly', '--json')).stdout) as { ticks: unknown[] };
    expect(shown.ticks).toMatchObject([{ status: 'STARTED', standsFor: 1, run: { status: 'PENDING' } }]);
    expect(await command('schedules', 'pause', 'nightly')).toMatchObject({ code: 1 });
    expect((await command('schedules', 'pause', 'nightly', '--reason', 'holiday')).stdout).toBe(
      'Schedule nightly is PAUSED.\n',
    );
    expect((await command('schedules', 'resume', 'nightly')).stdout).toMatch(/is ACTIVE; its next tick/);
    expect((await command('schedules', 'remove', 'nightly', '--reason', 'over')).stdout).toMatch(/is REMOVED/);
    expect(await command('schedules', 'show', 'nightly')).toMatchObject({ code: 1 });
    const bad = await command('schedules', 'create', 'bad', '--pipeline', 'dated', '--cron', '61 * * * *');
    expect(bad).toMatchObject({ code: 1, stdout: '' });
    expect(bad.stderr).toMatch(/^INVALID_INPUT: .*not valid/);
  }, 60_000);

  it('a backfill is started, listed, shown, cancelled and resumed', async () => {
    const started = await command(
      'backfills',
      'start',
      'dated',
      '--from',
      '2026-01-01',
      '--to',
      '2026-01-03',
      '--json',
    );
    expect(started).toMatchObject({ code: 0 });
    const { backfillId, progress } = JSON.parse(started.stdout) as { backfillId: string; progress: { total: number } };
    expect(progress.total).toBe(3);
    await look();
    const shown = await command('backfills', 'show', backfillId);
    expect(shown.stdout).toMatch(/RUNNING: 0 of 3 dates completed, 3 running/);
    expect(shown.stdout).toMatch(/2026-01-02 +RUNNING +1 /);
    expect((await command('backfills', 'cancel', backfillId, '--reason', 'wrong')).stdout).toMatch(/is CANCELLING/);
    await look();
    expect((await command('backfills', 'list')).stdout).toMatch(/CANCELLED +0 of 3 dates completed, 3 cancelled/);
    expect((await command('backfills', 'resume', backfillId, '--reason', 'right')).stdout).toMatch(/is RUNNING/);
    const refused = await command('backfills', 'start', 'dated', '--from', '2026-01-03', '--to', '2026-01-01');
    expect(refused.stderr).toMatch(/^INVALID_INPUT: The range begins/);
  }, 60_000);
});

describe('a viewer', () => {
  it('sees schedules and changes none, and the refusal is in the audit log', async () => {
    const ask = async (query: string) => {
      const response = await fetch(`${server.url}${graphqlPath}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer nasa/viewer' },
        body: JSON.stringify({ query }),
      });
      return (await response.json()) as { data?: unknown; errors?: { extensions: { code: string } }[] };
    };
    expect(
      await ask(
        '{ schedules { edges { node { name } } } backfills { edges { node { status progress { fraction } } } } }',
      ),
    ).toMatchObject({
      data: { schedules: { edges: [] } },
    });
    const refusals = [
      'mutation { createSchedule(input: { name: "x", pipeline: "dated", cron: "0 0 * * *" }) { __typename } }',
      'mutation { pauseSchedule(input: { name: "x", reason: "r" }) { __typename } }',
      'mutation { startBackfill(input: { pipeline: "dated", firstDate: "2026-01-01", lastDate: "2026-01-01" }) { __typename } }',
    ];
    for (const refusal of refusals) {
      expect(JSON.stringify(await ask(refusal))).toMatch(/FORBIDDEN|AuthorizationError/);
    }
  });
});
