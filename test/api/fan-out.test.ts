import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import { appendAudit } from '../../src/audit/append.ts';
import type { Role } from '../../src/auth/roles.ts';
import { channels, notify } from '../../src/db/notify.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { encodeCursor } from '../../src/events/cursor.ts';
import { startHints } from '../../src/events/listen.ts';
import { type RunningServer, startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { metrics } from '../../src/telemetry/metrics.ts';
import { apiDeps, append, completes, principalOf, quiet, starts } from '../support/api.ts';
import { scratchAnchor, sealAll } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { openEvents } from './event-wire.ts';
import { connectWire, type Message, type Wire } from './wire.ts';

const database = useDatabase();
let server: RunningServer;
let hints: ReturnType<typeof startHints>;
let api: ReturnType<typeof apiDeps>;

beforeAll(async () => {
  await database.addAgency('nasa');
  hints = startHints({ url: database.apiUrl, logger: quiet });
  api = apiDeps(database, { hints, pollMs: 1_000 });
  server = await startServer(
    { environment: 'development', host: '127.0.0.1', port: 0 },
    {
      schema,
      authenticator: {
        // `<agency>/<role>/<subject>`
        authenticate(token) {
          const [agency = '', role = 'viewer', subject = 'pat'] = token.split('/');
          return Promise.resolve(principalOf(agency, { role: role as Role, subject }));
        },
      },
      seal: sealKey(database.contextKey),
      createContext: (request) => createContext(api, request),
      readiness: {},
      logger: createLogger({ service: 'api', level: 'fatal' }),
    },
  );
  await hints.listening();
});
afterAll(async () => {
  await server.stop();
  await hints.stop();
});

async function startedRun(): Promise<string> {
  const { runId } = await insertRun(database, 'nasa');
  await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
  return runId;
}

async function write(runId: string, count: number, length = 200): Promise<void> {
  const events = Array.from({ length: count }, (_, i) => ({
    name: 'BatchCommitted' as const,
    message: 'x'.repeat(length),
    data: { n: i },
  }));
  await append(database, 'nasa', runId, events);
  await notify(database.admin(), channels.runEvents, runId);
}

async function finish(runId: string): Promise<void> {
  await append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);
  await notify(database.admin(), channels.runEvents, runId);
}

const watch = `subscription ($id: ID!, $after: String) {
  runEvents(runId: $id, after: $after) {
    __typename
    ... on RunEvent { seq cursor message }
    ... on StreamEnd { lastSeq }
  }
}`;

type Item = { __typename: string; seq?: string; cursor?: string };
const itemOf = (message: Message): Item => message.payload?.data?.['runEvents'] as Item;
const upTo = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i + 1));
const executions = async (): Promise<number> => (await metrics.streamExecutions.get()).values[0]?.value ?? 0;

async function follow(wire: Wire, id: string): Promise<Item[]> {
  const items: Item[] = [];
  for (;;) {
    const message = await wire.next();
    if (message.type === 'complete') return items;
    expect(message).toMatchObject({ id, type: 'next' });
    items.push(itemOf(message));
  }
}

describe('many who watch one run', () => {
  it('over sockets and event streams get equal results that were executed once', async () => {
    const runId = await startedRun();
    const before = await executions();
    const wires = await Promise.all(
      Array.from({ length: 12 }, (_, i) => connectWire(server.url, `nasa/operator/p${String(i)}`)),
    );
    const overSockets = wires.map((wire, i) => {
      wire.send({ id: `w${String(i)}`, type: 'subscribe', payload: { query: watch, variables: { id: runId } } });
      return follow(wire, `w${String(i)}`);
    });
    const overEvents = Array.from({ length: 4 }, async (_, i) => {
      const events = await openEvents(server.url, `nasa/operator/e${String(i)}`, {
        query: watch,
        variables: { id: runId },
      });
      const items: Item[] = [];
      for (let event = await events.next(); event?.event === 'next'; event = await events.next()) {
        items.push(event.data?.data?.['runEvents'] as Item);
      }
      return items;
    });
    await write(runId, 3);
    await write(runId, 90);
    await finish(runId);
    const [first, ...others] = await Promise.all([...overSockets, ...overEvents]);
    expect(first?.map(({ seq }) => seq)).toEqual([...upTo(95), undefined]);
    expect(first?.at(-1)?.__typename).toBe('StreamEnd');
    for (const other of others) expect(other).toEqual(first);
    // 96 results for 16 subscribers; some may be executed a second time when history is read anew.
    expect((await executions()) - before).toBeLessThan(300);
    await Promise.all(wires.map((wire) => wire.close()));
  });

  it('with other selections, or other roles, do not get one another’s', async () => {
    const runId = await startedRun();
    await write(runId, 1);
    await finish(runId);
    const withData = `subscription ($id: ID!) { runEvents(runId: $id) { ... on RunEvent { seq data } } }`;
    const ask = async (role: string, query: string): Promise<Message[]> => {
      const wire = await connectWire(server.url, `nasa/${role}`);
      wire.send({ id: '1', type: 'subscribe', payload: { query, variables: { id: runId } } });
      const messages: Message[] = [];
      for (let next = await wire.next(); next.type !== 'complete'; next = await wire.next()) messages.push(next);
      await wire.close();
      return messages;
    };
    const [operator, viewer, plain] = await Promise.all([
      ask('operator', withData),
      ask('viewer', withData),
      ask('operator', watch),
    ]);
    expect(itemOf(operator[1] as Message)).toEqual({ seq: '2', data: { n: 0 } });
    expect(itemOf(viewer[1] as Message)).toEqual({ seq: '2', data: null });
    expect(viewer[1]?.payload?.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN' });
    expect(itemOf(plain[1] as Message)).toMatchObject({ __typename: 'BatchCommitted', seq: '2' });
  });

  it('who come back with their last cursor, again and again, miss and repeat nothing', async () => {
    const runId = await startedRun();
    const writing = (async () => {
      for (let i = 0; i < 12; i += 1) await write(runId, 1 + ((i * 7) % 30));
      await finish(runId);
    })();
    const seen: Item[] = [];
    for (let connection = 0; seen.at(-1)?.__typename !== 'StreamEnd'; connection += 1) {
      const wire = await connectWire(server.url, 'nasa/operator');
      const after = seen.at(-1)?.cursor ?? null;
      wire.send({ id: '1', type: 'subscribe', payload: { query: watch, variables: { id: runId, after } } });
      const most = connection < 10 ? (connection * 5) % 17 : Infinity;
      for (let taken = 0; taken < most; taken += 1) {
        const message = await wire.next();
        if (message.type === 'complete') break;
        seen.push(itemOf(message));
      }
      wire.socket.terminate();
    }
    await writing;
    const events = seen.filter(({ seq }) => seq !== undefined);
    expect(events.map(({ seq }) => seq)).toEqual(upTo(events.length));
    expect(events.length).toBe(2 + Array.from({ length: 12 }, (_, i) => 1 + ((i * 7) % 30)).reduce((a, b) => a + b, 0));
  });
});

describe('many who follow', () => {
  /** Eight sockets with one operation each, after their first answers where the stream has some. */
  const crowd = async (role: string, query: string, variables: object): Promise<Wire[]> => {
    const wires = await Promise.all(
      Array.from({ length: 8 }, (_, i) => connectWire(server.url, `nasa/${role}/f${String(i)}`)),
    );
    for (const wire of wires) wire.send({ id: '1', type: 'subscribe', payload: { query, variables } });
    return wires;
  };
  const untilStatus = async (wire: Wire, wanted: string, statusOf: (message: Message) => unknown): Promise<Message> => {
    for (;;) {
      const message = await wire.next();
      if (message.type !== 'next') throw new Error(`expected ${wanted}, found ${JSON.stringify(message)}`);
      if (statusOf(message) === wanted) return message;
    }
  };

  it('a run’s progress get one snapshot, executed once', async () => {
    const runId = await startedRun();
    const query = 'subscription ($id: ID!) { runProgress(runId: $id, maxPerSecond: 20) { status updatedAt } }';
    const wires = await crowd('operator', query, { id: runId });
    const statusOf = ({ payload }: Message): unknown => (payload?.data?.['runProgress'] as { status: string }).status;
    await Promise.all(wires.map((wire) => untilStatus(wire, 'IN_PROGRESS', statusOf)));
    const before = await executions();
    await finish(runId);
    const [first, ...others] = await Promise.all(wires.map((wire) => untilStatus(wire, 'COMPLETED', statusOf)));
    // The time of reading is in it: equal only where one reading was everybody's.
    for (const other of others) expect(other).toEqual(first);
    for (const wire of wires) expect((await wire.next()).type).toBe('complete');
    expect((await executions()) - before).toBe(1);
    await Promise.all(wires.map((wire) => wire.close()));
  });

  it('the changes of runs get each executed once, and another filter’s are its own', async () => {
    const after = encodeCursor(api.cursorKey, { kind: 'run-changes', agency: 'nasa' }, ['0']);
    const query = (filter: string): string =>
      `subscription ($after: String) { runsChanged(after: $after${filter}) { matches run { runId status } } }`;
    const wires = await crowd('operator', query(''), { after });
    const others = await crowd('operator', query(', filter: { status: [FAILED] }'), { after });
    type Change = { matches: boolean; run: { runId: string; status: string } };
    const changeOf = ({ payload }: Message): Change => payload?.data?.['runsChanged'] as Change;
    const untilStarted = (runId: string): Promise<Change[]> =>
      Promise.all(
        [...wires, ...others].map(async (wire) =>
          changeOf(
            await untilStatus(wire, `${runId} IN_PROGRESS`, (message) => {
              const { run } = changeOf(message);
              return `${run.runId} ${run.status}`;
            }),
          ),
        ),
      );
    const first = await startedRun();
    await notify(database.admin(), channels.runEvents, first);
    await untilStarted(first);
    const before = await executions();
    const second = await startedRun();
    await notify(database.admin(), channels.runEvents, second);
    const changes = await untilStarted(second);
    expect(changes.map(({ matches }) => matches)).toEqual([...wires.map(() => true), ...others.map(() => false)]);
    // For each filter the run as it began, if somebody looked then, and as it went on.
    expect((await executions()) - before).toBeLessThanOrEqual(4);
    await Promise.all([...wires, ...others].map((wire) => wire.close()));
  });

  it('the audit log get each entry executed once, in order', async () => {
    const after = encodeCursor(api.cursorKey, { kind: 'audit', agency: 'nasa' }, ['0']);
    const query = 'subscription ($after: String) { auditEntryAdded(after: $after) { seq resourceId } }';
    const wires = await crowd('admin', query, { after });
    const anchor = await scratchAnchor();
    const seal = async (...resourceIds: string[]): Promise<void> => {
      for (const resourceId of resourceIds) {
        const entry = { actor: 'pat', role: 'operator', action: 'test.say', resourceType: 'test', resourceId };
        await inTenant(database.apiPool(), database.tenant('nasa'), (tx) =>
          appendAudit(tx, { ...entry, success: true, reason: null }),
        );
      }
      await sealAll(database, anchor);
    };
    const until = (resourceId: string): Promise<string[][]> =>
      Promise.all(
        wires.map(async (wire) => {
          const found: string[] = [];
          while (found.at(-1) !== resourceId) {
            const message = await wire.next();
            if (!message.payload?.data) throw new Error(`expected ${resourceId}, found ${JSON.stringify(message)}`);
            found.push((message.payload.data['auditEntryAdded'] as { resourceId: string }).resourceId);
          }
          return found;
        }),
      );
    await seal('one');
    await until('one');
    const before = await executions();
    await seal('two', 'three', 'four');
    for (const found of await until('four')) expect(found).toEqual(['two', 'three', 'four']);
    expect((await executions()) - before).toBe(3);
    await Promise.all(wires.map((wire) => wire.close()));
    await anchor.remove();
  });
});

describe('the feed of changed runs', () => {
  it('comes over a socket with the run and a cursor', async () => {
    const wire = await connectWire(server.url, 'nasa/viewer');
    const query = `subscription { runsChanged { matches cursor run { runId status version progress { recordsRead } } } }`;
    wire.send({ id: '1', type: 'subscribe', payload: { query } });
    await vi.waitFor(() => expect(hints.stats().waiters).toBe(1), { timeout: 20_000 });
    const runId = await startedRun();
    await notify(database.admin(), channels.runEvents, runId);
    const change = (await wire.next()).payload?.data?.['runsChanged'];
    expect(change).toMatchObject({
      matches: true,
      cursor: expect.any(String),
      run: { runId, status: 'IN_PROGRESS', progress: { recordsRead: '0' } },
    });
    await wire.close();
  });
});

describe('a client that does not read', () => {
  it('is owed a bounded number of bytes, does not slow the others, and gets all of it when it reads again', async () => {
    const runId = await startedRun();
    const slow = await connectWire(server.url, 'nasa/operator/slow');
    slow.send({ id: '1', type: 'subscribe', payload: { query: watch, variables: { id: runId } } });
    await slow.next();
    slow.socket.pause();
    const quick = await connectWire(server.url, 'nasa/operator/quick');
    quick.send({ id: '1', type: 'subscribe', payload: { query: watch, variables: { id: runId } } });
    const all = follow(quick, '1');
    const sent = async (): Promise<number> => (await metrics.streamDeliveries.get()).values[0]?.value ?? 0;
    const before = await sent();
    for (let i = 0; i < 25; i += 1) await write(runId, 200, 3_000);
    await finish(runId);
    expect((await all).length).toBe(5_003);
    // It has read one event and may be owed 16 KiB; what the system's own buffers would take is megabytes.
    expect((await sent()) - before).toBeLessThan(5_003 + 25);
    slow.socket.resume();
    const rest = await follow(slow, '1');
    expect(rest.map(({ seq }) => seq)).toEqual([...upTo(5_002).slice(1), undefined]);
    await Promise.all([slow.close(), quick.close()]);
  });

  it('and completes while nothing happens frees its place at once', async () => {
    const runId = await startedRun();
    const wire = await connectWire(server.url, 'nasa/operator');
    wire.send({ id: '1', type: 'subscribe', payload: { query: watch, variables: { id: runId } } });
    await wire.next();
    await vi.waitFor(() => expect(hints.stats().waiters).toBe(1), { timeout: 20_000 });
    wire.send({ id: '1', type: 'complete' });
    await vi.waitFor(() => expect(hints.stats().waiters).toBe(0), { timeout: 20_000 });
    await wire.close();
  });
});
