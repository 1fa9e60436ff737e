/**
 * The SDK's feeds without an end, changed runs and the audit log: their place is known before they say that they are live, and it holds
 * over whatever breaks before the first item.
 */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { type ConnectionState, createFlux, type Flux, isFluxError, type Transport } from '#sdk';
import { appendAudit } from '../../src/audit/append.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { scratchAnchor, sealAll } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { gate, until } from '../support/runs.ts';
import { history, serveApi } from '../support/served-api.ts';
import { eventStream, startTcpProxy, type TcpProxy, webSocketUpgrade } from '../support/tcp-proxy.ts';

const database = useDatabase();
const api = serveApi(database);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
beforeAll(() => database.addAgency('nasa'));

function client(options: Partial<Parameters<typeof createFlux>[0]> = {}): Flux {
  const flux = createFlux({ url: api.url, token: 'nasa/admin', pollIntervalMs: 50, ...options });
  cleanups.push(() => flux.close());
  return flux;
}

async function proxy(): Promise<TcpProxy> {
  const started = await startTcpProxy(() => api.port);
  cleanups.push(() => started.close());
  return started;
}

/** How a stream's connection stood, one after the other: the way where it was live. */
function standing(): { states: string[]; onConnection: (state: ConnectionState) => void } {
  const states: string[] = [];
  return {
    states,
    onConnection: (state) => void states.push(state.status === 'live' ? state.transport : state.status),
  };
}

/** Reads a stream until the test is over. */
function hear<T>(stream: AsyncIterable<T>): { items: T[]; failed: Promise<unknown> } {
  const items: T[] = [];
  const read = async (): Promise<void> => {
    for await (const item of stream) items.push(item);
  };
  return { items, failed: read().catch((cause: unknown) => cause) };
}

const newRun = async (agency = 'nasa'): Promise<string> => (await insertRun(database, agency)).runId;

/** Takes a run from its beginning to its end. */
async function completed(runId: string, agency = 'nasa'): Promise<void> {
  const run = history(database, agency, runId);
  await run.start();
  await run.complete();
}

/** Holds the counter of an agency's feed, so that nobody numbers what has changed. @returns lets it go */
async function holdFeed(agency: string): Promise<() => Promise<void>> {
  const [held, over] = [gate(), gate()];
  const holding = database.admin().withConnection((connection) =>
    inTransaction(connection, async (tx) => {
      await tx.query(sql`select from flux.run_feeds where agency_id = ${agency} for update`);
      held.open();
      await over.passed;
    }),
  );
  await held.passed;
  const release = async (): Promise<void> => {
    over.open();
    await holding;
  };
  cleanups.push(release);
  return release;
}

/** Until the API waits for the feed's counter. */
function untilItWaits(): Promise<void> {
  return until(async () => {
    const { rows } = await database.admin().query<{ waits: boolean }>(sql`
      select exists (
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%run_feeds%'
      ) as waits
    `);
    return rows[0]?.waits === true;
  });
}

/** Only the head of a connection is looked at, and the question for the place leaves one open, which an event stream would take. */
const only = (transport: Transport): { transports?: readonly Transport[] } =>
  transport === 'polling' ? { transports: ['polling'] } : {};
const everyStream = new RegExp(`${webSocketUpgrade.source}|${eventStream.source}`, 'i');
/** What stands in the way of the transports that are tried before one. */
const blockedFor: Record<Transport, RegExp | null> = {
  websocket: null,
  sse: webSocketUpgrade,
  polling: everyStream,
};

describe('flux.runs.changes', () => {
  it.each(['websocket', 'sse'] as const)('is not live over %s before its place is fixed', async (transport) => {
    // Nobody else reads this feed, who might have numbered the run already or wait as well.
    const agency = `held-${transport}`;
    await database.addAgency(agency);
    await database.admin().query(sql`insert into flux.run_feeds (agency_id) values (${agency})`);
    await newRun(agency);
    const release = await holdFeed(agency);
    const { states, onConnection } = standing();
    const flux = client({ token: `${agency}/viewer`, transports: [transport] });
    const { items } = hear(flux.runs.changes({ onConnection }));
    await untilItWaits();
    // A stream that was opened before the question is open by now: what it had to say came before what the database has just said.
    expect(states).toEqual([]);
    await release();
    await expect.poll(() => states).toEqual([transport]);
    const runId = await newRun(agency);
    await completed(runId, agency);
    await expect.poll(() => items.at(-1)?.run).toMatchObject({ runId, status: 'COMPLETED' });
  });

  it.each([
    ['websocket', 'websocket'],
    ['sse', 'sse'],
    ['polling', 'polling'],
    ['websocket', 'sse'],
    ['websocket', 'polling'],
    ['sse', 'polling'],
  ] as const)('open over %s misses nothing that changed before it came back over %s', async (before, after) => {
    const way = await proxy();
    way.block(blockedFor[before]);
    const { states, onConnection } = standing();
    const { items } = hear(client({ url: way.url, ...only(before) }).runs.changes({ onConnection }));
    await expect.poll(() => states.at(-1)).toBe(before);
    const [waiting, over] = [await newRun(), await newRun()];
    await expect.poll(() => items.map(({ run }) => run.runId).sort()).toEqual([waiting, over].sort());
    way.block(/./);
    way.cut();
    await completed(over);
    way.block(blockedFor[after]);
    await expect.poll(() => items.at(-1)?.run).toMatchObject({ runId: over, status: 'COMPLETED' });
    expect(states.at(-1)).toBe(after);
    expect(items).toHaveLength(3);
  });

  it.each([
    ['websocket', 'websocket'],
    ['sse', 'sse'],
    ['websocket', 'polling'],
    ['sse', 'polling'],
  ] as const)('open over %s misses nothing before its first item when it comes back over %s', async (before, after) => {
    const runId = await newRun();
    const way = await proxy();
    way.block(blockedFor[before]);
    const { states, onConnection } = standing();
    const { items } = hear(client({ url: way.url, ...only(before) }).runs.changes({ onConnection }));
    await expect.poll(() => states.at(-1)).toBe(before);
    way.block(/./);
    way.cut();
    await completed(runId);
    way.block(blockedFor[after]);
    await expect.poll(() => items.map(({ run }) => `${run.runId} ${run.status}`)).toEqual([`${runId} COMPLETED`]);
    expect(states.at(-1)).toBe(after);
  });

  it('polls the feed itself: every run of many that changed at once, and each once', async () => {
    const model = await newRun();
    const { states, onConnection } = standing();
    const { items } = hear(client({ transports: ['polling'] }).runs.changes({ onConnection }));
    await expect.poll(() => states).toEqual(['polling']);
    const { rows } = await database.admin().query<{ runId: string }>(sql`
      insert into flux.runs
      select (jsonb_populate_record(r, jsonb_build_object('run_id', gen_random_uuid(), 'feed_seq', null))).*
      from flux.runs r, generate_series(1, 130)
      where r.run_id = ${model}
      returning run_id as "runId"
    `);
    const wanted = rows.map(({ runId }) => runId).sort();
    await expect.poll(() => items.map(({ run }) => run.runId).sort()).toEqual(wanted);
    await completed(model);
    await expect.poll(() => items.at(-1)?.run).toMatchObject({ runId: model, status: 'COMPLETED' });
    expect(new Set(items.map(({ cursor }) => cursor)).size).toBe(items.length);
  });

  it('begins with what changes from now on, and asks where that is once, however often its connection breaks', async () => {
    await completed(await newRun());
    const way = await proxy();
    let questions = 0;
    const counting: typeof fetch = (url, init) => {
      if (typeof init?.body === 'string' && init.body.includes('runChanges(')) questions += 1;
      return fetch(url, init);
    };
    const flux = client({ url: way.url, fetch: counting, transports: ['websocket'] });
    const { states, onConnection } = standing();
    const { items } = hear(flux.runs.changes({ onConnection }));
    const lives = (): number => states.filter((state) => state === 'websocket').length;
    for (const times of [1, 2, 3]) {
      await expect.poll(lives).toBe(times);
      way.cut();
    }
    const runId = await newRun();
    await expect.poll(() => items.map(({ run }) => run.runId)).toEqual([runId]);
    expect(questions).toBe(1);
    // Whoever has a place is asked nothing.
    const later = hear(flux.runs.changes({ after: items[0]?.cursor ?? null }));
    const next = await newRun();
    await expect.poll(() => later.items.map(({ run }) => run.runId)).toEqual([next]);
    expect(questions).toBe(1);
  });

  it('waits for an API that is away at the beginning, says so, and comes by the best way once it is there', async () => {
    const way = await proxy();
    way.block(/./);
    const { states, onConnection } = standing();
    const { items } = hear(client({ url: way.url, staleAfterMs: 300 }).runs.changes({ onConnection }));
    await expect.poll(() => states).toEqual(['reconnecting', 'stale']);
    way.block(null);
    await expect.poll(() => states).toEqual(['reconnecting', 'stale', 'websocket']);
    const runId = await newRun();
    await expect.poll(() => items.map(({ run }) => run.runId)).toEqual([runId]);
  });

  it('gives up on an API that is away at the beginning when asked to, and ends at once when its signal aborts', async () => {
    const way = await proxy();
    way.block(/./);
    const flux = client({ url: way.url });
    const [failed, stop] = [hear(flux.runs.changes({ giveUpAfterMs: 500 })).failed, new AbortController()];
    const { states, onConnection } = standing();
    const stopped = hear(flux.runs.changes({ signal: stop.signal, onConnection })).failed;
    await expect.poll(() => states).toEqual(['reconnecting']);
    stop.abort();
    expect(await stopped).toBeUndefined();
    expect(await failed).toSatisfy((error) => isFluxError(error, 'UNAVAILABLE'));
  });

  it('asks for another token when the first is refused, and gives up when there is none', async () => {
    api.refused.add('nasa/viewer');
    cleanups.push(() => api.refused.clear());
    const reasons: string[] = [];
    const token = ({ reason }: { reason: string }): string => {
      reasons.push(reason);
      return reason === 'first' ? 'nasa/viewer' : 'nasa/operator';
    };
    const { states, onConnection } = standing();
    const { items } = hear(client({ token }).runs.changes({ onConnection }));
    await expect.poll(() => states.at(-1)).toBe('websocket');
    expect(reasons).toEqual(['first', 'refused']);
    const runId = await newRun();
    await expect.poll(() => items.map(({ run }) => run.runId)).toEqual([runId]);
    const { failed } = hear(client({ token: 'nasa/viewer' }).runs.changes());
    expect(await failed).toSatisfy((error) => isFluxError(error, 'UNAUTHENTICATED'));
  });

  it('throws what no other try can change', async () => {
    expect(await hear(client().runs.changes({ after: 'no cursor' })).failed).toSatisfy((error) =>
      isFluxError(error, 'INVALID_INPUT'),
    );
    expect(await hear(client({ token: 'nasa/viewer' }).audit.watch()).failed).toSatisfy((error) =>
      isFluxError(error, 'FORBIDDEN'),
    );
  });
});

describe('flux.audit.watch', () => {
  /** Writes entries of an agency, in order. */
  const say = async (agency: string, ...resourceIds: string[]): Promise<void> => {
    const entry = { actor: 'pat', role: 'operator', action: 'test.say', resourceType: 'test', success: true };
    for (const resourceId of resourceIds) {
      await inTenant(database.apiPool(), database.tenant(agency), (tx) =>
        appendAudit(tx, { ...entry, resourceId, reason: null }),
      );
    }
  };
  const seal = async (): Promise<void> => {
    const anchor = await scratchAnchor();
    await sealAll(database, anchor);
    await anchor.remove();
  };
  const said = (items: readonly { action: string; resourceId: string | null }[]): (string | null)[] =>
    items.filter(({ action }) => action === 'test.say').map(({ resourceId }) => resourceId);

  it.each([
    ['websocket', 'websocket'],
    ['sse', 'sse'],
    ['polling', 'polling'],
    ['websocket', 'polling'],
  ] as const)(
    'open over %s gives what is sealed from now on, and all of that when it comes back over %s',
    async (before, after) => {
      const agency = `${before}-${after}`.slice(0, 20);
      await database.addAgency(agency);
      await say(agency, 'long ago');
      await seal();
      await say(agency, 'waiting for its seal');
      const way = await proxy();
      way.block(blockedFor[before]);
      const { states, onConnection } = standing();
      const flux = client({ url: way.url, token: `${agency}/admin`, ...only(before) });
      const { items } = hear(flux.audit.watch({ onConnection }));
      await expect.poll(() => states.at(-1)).toBe(before);
      way.block(/./);
      way.cut();
      await say(agency, 'while away');
      await seal();
      way.block(blockedFor[after]);
      await expect.poll(() => said(items)).toEqual(['waiting for its seal', 'while away']);
      await say(agency, 'at last');
      await seal();
      await expect.poll(() => said(items)).toEqual(['waiting for its seal', 'while away', 'at last']);
      expect(items.map(({ seq }) => Number(seq))).toEqual(items.map((_, i) => Number(items[0]?.seq) + i));
    },
  );

  it.each(['websocket', 'polling'] as const)('gives a log that is empty from its first entry over %s', async (way) => {
    const agency = `empty-${way}`;
    await database.addAgency(agency);
    const cutter = await proxy();
    cutter.block(blockedFor[way]);
    const { states, onConnection } = standing();
    const flux = client({ url: cutter.url, token: `${agency}/admin`, ...only(way) });
    const { items } = hear(flux.audit.watch({ onConnection }));
    await expect.poll(() => states.at(-1)).toBe(way);
    cutter.block(/./);
    cutter.cut();
    await say(agency, 'first words');
    await seal();
    cutter.block(blockedFor[way]);
    await expect.poll(() => said(items)).toEqual(['first words']);
    expect(items[0]?.seq).toBe('1');
  });
});
