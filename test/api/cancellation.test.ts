import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { type Connection, connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { graphqlPath, type RunningServer, startServer } from '../../src/server/start-server.ts';
import { usualGateLimits } from '../../src/server/operation-gate.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { apiDeps, principalOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { openEvents } from './event-wire.ts';
import { askRest, restRequest } from './rest-wire.ts';
import { connectWire } from './wire.ts';

const database = useDatabase();
const servers: RunningServer[] = [];
let patient: RunningServer;
let hasty: RunningServer;
let locker: Connection & { end(): Promise<void> };

beforeAll(async () => {
  await database.addAgency('nasa');
  const api = apiDeps(database);
  const start = (executionMs: number): Promise<RunningServer> =>
    startServer(
      {
        environment: 'development',
        host: '127.0.0.1',
        port: 0,
        gateLimits: { ...usualGateLimits, executionMs },
      },
      {
        schema,
        authenticator: { authenticate: () => Promise.resolve(principalOf('nasa')) },
        seal: sealKey(database.contextKey),
        createContext: (request) => createContext(api, request),
        readiness: {},
        logger: createLogger({ service: 'api', level: 'fatal' }),
      },
    );
  servers.push((patient = await start(60_000)), (hasty = await start(300)));
});
afterAll(() => Promise.all(servers.map((server) => server.stop())));

const query = '{ runs(first: 1) { edges { node { runId } } } }';

/** Whoever reads runs waits until this is released. */
async function holdRuns(): Promise<void> {
  locker = await connect({ url: database.adminUrl, applicationName: 'flux test locker' });
  await locker.query(sql`begin`);
  await locker.query(sql`lock table flux.runs in access exclusive mode`);
}
afterEach(() => locker.end());

/** The API's statements that wait for the lock, as the server itself sees them. */
async function waitingStatements(): Promise<number> {
  const { rows } = await database.admin().query<{ n: number }>(sql`
    select count(*)::int as n
    from pg_stat_activity
    where datname = current_database()
      and usename = ${database.roles.api}
      and state = 'active'
      and wait_event_type = 'Lock'
  `);
  return rows[0]?.n ?? 0;
}
const becomes = (n: number): Promise<void> =>
  vi.waitFor(async () => expect(await waitingStatements()).toBe(n), { timeout: 25_000, interval: 20 });

describe('a statement that runs in PostgreSQL is ended', () => {
  it('when the client of a request goes away', async () => {
    await holdRuns();
    const leaving = new AbortController();
    const asked = fetch(`${patient.url}${graphqlPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
      body: JSON.stringify({ query }),
      signal: leaving.signal,
    }).catch((cause: unknown) => cause);
    await becomes(1);
    leaving.abort();
    await becomes(0);
    await asked;
  });

  it('when the client of a socket completes the operation, or closes the socket', async () => {
    await holdRuns();
    const wire = await connectWire(patient.url, 'x');
    wire.send({ id: '1', type: 'subscribe', payload: { query } });
    await becomes(1);
    wire.send({ id: '1', type: 'complete' });
    await becomes(0);
    wire.send({ id: '2', type: 'subscribe', payload: { query } });
    await becomes(1);
    wire.socket.terminate();
    await becomes(0);
  });

  it('when the client of an event stream goes away', async () => {
    await holdRuns();
    const events = await openEvents(patient.url, 'x', { query });
    await becomes(1);
    events.leave();
    await becomes(0);
  });

  it('when the client of a REST request goes away', async () => {
    await holdRuns();
    const leaving = new AbortController();
    const asked = askRest(patient.url, 'x', restRequest('runs', { first: 1 }), { signal: leaving.signal }).catch(
      (cause: unknown) => cause,
    );
    await becomes(1);
    leaving.abort();
    await becomes(0);
    await asked;
  });

  it('when its time is up, on every transport', async () => {
    await holdRuns();
    const response = await fetch(`${hasty.url}${graphqlPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
      body: JSON.stringify({ query }),
    });
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'LIMIT_EXCEEDED' } }] });
    await becomes(0);
    const wire = await connectWire(hasty.url, 'x');
    wire.send({ id: '1', type: 'subscribe', payload: { query } });
    expect((await wire.next()).payload?.errors?.[0]?.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await becomes(0);
    await wire.close();
    const problem = await askRest(hasty.url, 'x', restRequest('runs', { first: 1 }));
    expect(problem).toMatchObject({ status: 429, body: { code: 'LIMIT_EXCEEDED', retryable: false } });
    await becomes(0);
    const events = await openEvents(hasty.url, 'x', { query });
    expect((await events.next())?.data?.errors?.[0]?.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await becomes(0);
  });

  it('and never another one: the connection is not lent again', async () => {
    await holdRuns();
    const pool = database.apiPool();
    const leaving = new AbortController();
    const slow = pool.withConnection((tx) => tx.query(sql`select count(*) from flux.runs`), leaving.signal);
    const refused = expect(slow).rejects.toMatchObject({ code: '57014' });
    await becomes(1);
    const before = pool.stats().total;
    leaving.abort();
    await refused;
    expect(pool.stats().total).toBe(before - 1);
    await expect(pool.withConnection((tx) => tx.query(sql`select pg_sleep(0.2)`))).resolves.toMatchObject({
      rowCount: 1,
    });
    await expect(pool.withConnection(() => Promise.resolve(1), leaving.signal)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
    });
  });
});
