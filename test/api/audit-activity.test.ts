/** What changes nothing leaves an audit entry too: every root field is executed, and must be found in the log afterwards. */
import { randomBytes } from 'node:crypto';

import {
  type ExecutionResult,
  getNamedType,
  graphql,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLOutputType,
  isAbstractType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  parse,
  subscribe,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createContext, recordRequestRefusal } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import type { Role } from '../../src/auth/roles.ts';
import { createRequestContext } from '../../src/auth/request-context.ts';
import { createPool } from '../../src/db/pool.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { startServer } from '../../src/server/start-server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { databaseActivity } from '../support/activity.ts';
import { apiDeps, type CallerOptions, principalOf } from '../support/api.ts';
import { auditBodies, scratchAnchor, sealAll } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { openEvents } from './event-wire.ts';
import { askRest, restRequest } from './rest-wire.ts';
import { openWire } from './wire.ts';

const database = useDatabase();
let activity: ReturnType<typeof databaseActivity>;
let anchor: Awaited<ReturnType<typeof scratchAnchor>>;
let runId = '';
const started: string[] = [];

beforeAll(async () => {
  // Written when the test asks for it: an operation that a slow machine is at for longer than entries are gathered is told in two.
  activity = databaseActivity(database, { gatherMs: 600_000 });
  anchor = await scratchAnchor();
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  for (let i = 0; i < 60; i += 1) started.push((await insertRun(database, 'nasa')).runId);
  runId = started[0] as string;
  for (let i = 0; i < 3; i += 1) await ask('{ viewer { subject } }');
  await sealAll(database, anchor);
});
afterAll(async () => {
  await activity.stop();
  expect(activity.complaints).toEqual([]);
  await anchor.remove();
});

function asker(options: CallerOptions = {}, more: { activity?: typeof activity } = {}) {
  const traceId = randomBytes(16).toString('hex');
  const context = createContext(
    apiDeps(database, { activity: more.activity ?? activity }),
    createRequestContext({
      principal: principalOf('nasa', { role: 'admin', ...options }),
      seal: sealKey(database.contextKey),
      requestId: 'q-1',
      traceId,
      ip: '192.0.2.9',
      userAgent: 'test/1',
      signal: options.signal ?? new AbortController().signal,
    }),
  );
  return { traceId, context };
}

type Entry = Record<string, unknown> & { after: Record<string, unknown> };
const entriesOf = async (traceId: string): Promise<Entry[]> => {
  await activity.flush();
  return (await auditBodies(database, 'nasa')).filter((entry) => entry['traceId'] === traceId) as Entry[];
};
const ask = async (source: string, options: CallerOptions = {}) => {
  const { traceId, context } = asker(options);
  const result = await graphql({ schema, source, contextValue: context });
  return { result, entries: await entriesOf(traceId) };
};

const node = (type: string, id: string): string => Buffer.from(`${type}:${id}`).toString('base64url');

/** Some value of a type: what is required of it, and no more. */
function valueOf(type: GraphQLInputType, name: string): string {
  if (isNonNullType(type)) return valueOf(type.ofType, name);
  if (isListType(type)) return `[${valueOf(type.ofType, name)}]`;
  if (isEnumType(type)) return type.getValues()[0]?.name ?? '';
  if (isInputObjectType(type)) {
    const required = Object.values(type.getFields()).filter(isRequiredInputField);
    return `{ ${required.map((field: GraphQLInputField) => `${field.name}: ${valueOf(field.type, field.name)}`).join(', ')} }`;
  }
  switch (type.name) {
    case 'ID':
      return JSON.stringify(node('Run', runId));
    case 'Int':
      return '1';
    case 'Boolean':
      return 'false';
    case 'JSON':
      return '{}';
    case 'BigInt':
    case 'String':
      return '"1"';
    default:
      return `"${new Date().toISOString()}"`;
  }
}

/** A selection that descends into objects and pages, and asks no argument. */
function selectionOf(type: GraphQLOutputType, depth = 3): string {
  const named = getNamedType(type);
  if (isAbstractType(named)) return '{ __typename }';
  if (!isObjectType(named)) return '';
  const fields = Object.values(named.getFields()).filter((field) => !field.args.some(isRequiredArgument));
  const parts = fields.flatMap((field) => {
    const inner = getNamedType(field.type);
    if (!isObjectType(inner)) return isAbstractType(inner) ? [] : [field.name];
    const goesOn = depth > 0 && (field.name === 'edges' || field.name === 'node');
    return goesOn ? [`${field.name} ${selectionOf(field.type, depth - 1)}`] : [];
  });
  return `{ __typename ${parts.join(' ')} }`;
}

function operationOf(kind: string, field: GraphQLField<unknown, unknown>): string {
  const args = field.args
    .filter(isRequiredArgument)
    .map((arg: GraphQLArgument) => `${arg.name}: ${valueOf(arg.type, arg.name)}`);
  return `${kind} Audited { ${field.name}${args.length > 0 ? `(${args.join(', ')})` : ''} ${selectionOf(field.type)} }`;
}

const fieldsOf = (root: { getFields(): Record<string, GraphQLField<unknown, unknown>> } | null | undefined) =>
  Object.values(root?.getFields() ?? {}).map((field) => [field.name, field] as const);

const whole = {
  actor: 'pat@example.gov',
  role: 'admin',
  agencyId: 'nasa',
  requestId: 'q-1',
  ip: '192.0.2.9',
  userAgent: 'test/1',
};

describe('every root field of the schema leaves its entry:', () => {
  it.each(fieldsOf(schema.getQueryType()))('Query.%s', async (name, field) => {
    const { entries } = await ask(operationOf('query', field));
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({ ...whole, action: 'data.read' });
    expect(entries[0]?.after).toMatchObject({ operation: 'Audited', kind: 'query', fields: [`Query.${name}`] });
  });

  it.each(fieldsOf(schema.getMutationType()))('Mutation.%s', async (_name, field) => {
    const { entries } = await ask(operationOf('mutation', field));
    const own = entries.filter(({ action }) => action !== 'data.read');
    expect(own).toHaveLength(1);
    expect(own[0]).toMatchObject(whole);
    expect(own[0]?.['success'] === true || typeof own[0]?.['errorCode'] === 'string').toBe(true);
  });

  it.each(fieldsOf(schema.getSubscriptionType()))(
    'Subscription.%s, when it opens and when it closes',
    async (name, field) => {
      const { traceId, context } = asker();
      const stream = (await subscribe({
        schema,
        document: parse(operationOf('subscription', field)),
        contextValue: context,
      })) as AsyncGenerator<ExecutionResult, void, void>;
      const opened = {
        ...whole,
        action: 'subscription.open',
        resourceType: 'subscription',
        resourceId: `Subscription.${name}`,
      };
      expect(await entriesOf(traceId)).toMatchObject([opened]);
      await stream.return();
      expect(await entriesOf(traceId)).toMatchObject([
        opened,
        { ...whole, action: 'subscription.close', resourceId: `Subscription.${name}`, after: { end: 'LEFT' } },
      ]);
    },
  );
});

describe('a read', () => {
  it('tells which types were touched, how many and which', async () => {
    const { entries } = await ask('query Look { runs(first: 10) { edges { node { id pipeline { name } } } } }');
    const { types } = entries[0]?.after as { types: Record<string, { count: number; ids: string[] }> };
    expect(types['Run']).toMatchObject({ count: 10 });
    expect(types['Run']?.ids).toHaveLength(10);
    expect(types['Run']?.ids).toEqual(expect.arrayContaining(started.slice(-5)));
    expect(types['Pipeline']?.count).toBe(10);
    expect(types['Pipeline']?.ids).toHaveLength(1);
    expect(Object.keys(types).sort()).toEqual(['Pipeline', 'Run']);
  });

  it('names the thing itself where it was about one', async () => {
    const { entries } = await ask(`{ run(id: "${node('Run', runId)}") { status } }`);
    expect(entries).toMatchObject([{ action: 'data.read', resourceType: 'run', resourceId: runId, success: true }]);
  });

  it('keeps fifty ids of a type, and counts the rest', async () => {
    const { entries } = await ask('{ runs(first: 60) { edges { node { id } } } }');
    const { types } = entries[0]?.after as { types: Record<string, { count: number; ids: string[] }> };
    expect(types['Run']?.count).toBe(60);
    expect(types['Run']?.ids).toHaveLength(50);
  });

  it('that found nothing is told as well, with what failed', async () => {
    const gone = node('Run', '019b0000-0000-7000-8000-000000000000');
    const { entries } = await ask(`{ run(id: "${gone}") { id } runEventLog(runId: "${gone}") { edges { cursor } } }`);
    expect(entries).toMatchObject([
      {
        action: 'data.read',
        success: true,
        after: { fields: ['Query.run', 'Query.runEventLog'], failed: { 'Query.runEventLog': 'NOT_FOUND' } },
      },
    ]);
    const alone = await ask(`{ runEventLog(runId: "${gone}") { edges { cursor } } }`);
    expect(alone.entries).toMatchObject([{ action: 'data.read', success: false, errorCode: 'NOT_FOUND' }]);
  });

  it('of the audit log is told like any other, and a subscription to it does not feed itself', async () => {
    const { traceId, context } = asker();
    const document = parse('subscription { auditEntryAdded { seq action } }');
    const stream = (await subscribe({ schema, document, contextValue: context })) as AsyncGenerator<ExecutionResult>;
    const next = stream.next();
    const { entries } = await ask('{ auditEntries(first: 3) { edges { node { seq } } } }');
    expect(entries[0]?.after).toMatchObject({ types: { AuditEntry: { count: 3, ids: ['1', '2', '3'] } } });
    await sealAll(database, anchor);
    await next;
    await activity.flush();
    await sealAll(database, anchor);
    const before = (await auditBodies(database, 'nasa')).length;
    // All that was sealed is delivered; delivering it writes nothing.
    for (let i = 0; i < 2; i += 1)
      await Promise.race([stream.next(), new Promise((resolve) => setTimeout(resolve, 300))]);
    await activity.flush();
    expect((await auditBodies(database, 'nasa')).length).toBe(before);
    await stream.return(undefined);
    const closed = (await entriesOf(traceId)).at(-1);
    expect(closed).toMatchObject({ action: 'subscription.close', after: { end: 'LEFT' } });
    const { types } = closed?.after as { types: { AuditEntry: { count: number } } };
    expect(types.AuditEntry.count).toBeGreaterThan(0);
  });
});

describe('a refusal', () => {
  it('of a field is told once, with how often it came', async () => {
    const { entries } = await ask('{ runs(first: 5) { edges { node { id payload } } } }', { role: 'viewer' });
    expect(entries).toMatchObject([
      { action: 'data.read', success: true },
      {
        action: 'access.refuse',
        resourceId: 'Run.payload',
        success: false,
        errorCode: 'FORBIDDEN',
        after: { count: 5 },
      },
    ]);
  });

  it('of a root field, a subscription and a mutation is told', async () => {
    const refused = { success: false, errorCode: 'FORBIDDEN', role: 'viewer' };
    const query = await ask('{ auditEntries { edges { cursor } } }', { role: 'viewer' });
    expect(query.entries).toMatchObject([{ ...refused, resourceId: 'Query.auditEntries' }]);
    const mutation = await ask('mutation { updateAgency(input: {}) { __typename } }', { role: 'viewer' });
    expect(mutation.entries).toMatchObject([{ ...refused, action: 'agency.update' }]);
    const { traceId, context } = asker({ role: 'viewer' });
    const document = parse('subscription { auditEntryAdded { seq } }');
    expect(await subscribe({ schema, document, contextValue: context })).toHaveProperty('errors');
    expect(await entriesOf(traceId)).toMatchObject([{ ...refused, resourceId: 'Subscription.auditEntryAdded' }]);
  });

  it('of another agency’s name is told in the caller’s own log, whether that agency exists or not', async () => {
    for (const slug of ['noaa', 'atlantis']) {
      const { result, entries } = await ask(`{ agency(slug: "${slug}") { name } }`);
      expect(result).toEqual({ data: { agency: null } });
      expect(entries).toMatchObject([
        { action: 'data.read' },
        { action: 'access.refuse', errorCode: 'DATA_ISOLATION' },
      ]);
    }
    expect((await auditBodies(database, 'noaa')).map(({ action }) => action)).toEqual(['agency.add']);
  });

  it('of a token that ended meanwhile is told', async () => {
    const { entries } = await ask('{ viewer { subject } }', { expiresAt: new Date(Date.now() - 1_000) });
    expect(entries).toMatchObject([
      { action: 'access.refuse', errorCode: 'UNAUTHENTICATED', resourceId: 'Query.viewer' },
    ]);
  });

  it('to open a subscription is told with its code', async () => {
    const { traceId, context } = asker();
    const gone = node('Run', '019b0000-0000-7000-8000-000000000000');
    const document = parse(`subscription { runEvents(runId: "${gone}") { __typename } }`);
    await subscribe({ schema, document, contextValue: context });
    expect(await entriesOf(traceId)).toMatchObject([
      { action: 'subscription.open', success: false, errorCode: 'NOT_FOUND' },
    ]);
  });
});

/** The API itself, telling what is refused before any resolver as the process does. */
function startApi(role: Role = 'admin') {
  const api = apiDeps(database, { activity });
  return startServer(
    { environment: 'development', host: '127.0.0.1', port: 0 },
    {
      schema,
      authenticator: { authenticate: () => Promise.resolve(principalOf('nasa', { role })) },
      seal: sealKey(database.contextKey),
      createContext: (request) => createContext(api, request),
      onRefused: (refused, error) => recordRequestRefusal(activity, refused, error),
      readiness: {},
      logger: createLogger({ service: 'api', level: 'fatal' }),
    },
  );
}

describe('over REST', () => {
  const asked = async (role: Role, field: string, variables: Record<string, unknown>) => {
    const server = await startApi(role);
    const traceId = randomBytes(16).toString('hex');
    const headers = { traceparent: `00-${traceId}-${'1'.repeat(16)}-01`, 'user-agent': 'rest/1' };
    try {
      const { status } = await askRest(server.url, 'x', restRequest(field, variables), { headers });
      return { status, entries: await entriesOf(traceId) };
    } finally {
      await server.stop();
    }
  };
  const who = { actor: 'pat@example.gov', agencyId: 'nasa', userAgent: 'rest/1' };

  it('a read is told with its operation, its types and its ids', async () => {
    const { status, entries } = await asked('admin', 'run', { id: runId });
    expect(status).toBe(200);
    expect(entries).toMatchObject([{ ...who, action: 'data.read', success: true }]);
    expect(entries[0]?.after).toMatchObject({
      operation: 'RestRun',
      kind: 'query',
      fields: ['Query.run'],
      types: { Run: { count: 1, ids: [runId] } },
    });
    const page = await asked('viewer', 'runs', { first: 3 });
    expect(page.entries[0]?.after).toMatchObject({ types: { Run: { count: 3 } } });
    // What a viewer may not read was not asked for, so nothing was refused.
    expect(page.entries).toHaveLength(1);
  });

  it('a read of nothing is one entry, and no refusal', async () => {
    const { status, entries } = await asked('admin', 'run', { id: '019b0000-0000-7000-8000-000000000000' });
    expect(status).toBe(404);
    expect(entries).toMatchObject([{ ...who, action: 'data.read', success: true }]);
  });

  it('a refused read, a refused mutation and a refused request are one entry each', async () => {
    const query = await asked('viewer', 'auditEntries', {});
    expect(query.status).toBe(403);
    expect(query.entries).toMatchObject([
      { ...who, action: 'access.refuse', resourceId: 'Query.auditEntries', success: false, errorCode: 'FORBIDDEN' },
    ]);
    const mutation = await asked('viewer', 'updateAgency', { input: {} });
    expect(mutation.status).toBe(403);
    expect(mutation.entries).toMatchObject([
      { ...who, action: 'agency.update', success: false, errorCode: 'FORBIDDEN' },
    ]);
    const request = await asked('viewer', 'runs', { first: 201 });
    expect(request.status).toBe(429);
    expect(request.entries).toMatchObject([{ ...who, action: 'request.refuse', errorCode: 'LIMIT_EXCEEDED' }]);
  });

  it('another agency’s name is told in the caller’s own log', async () => {
    const { status, entries } = await asked('admin', 'agency', { slug: 'noaa' });
    expect(status).toBe(404);
    expect(entries).toMatchObject([{ action: 'data.read' }, { action: 'access.refuse', errorCode: 'DATA_ISOLATION' }]);
  });

  it('a change is one entry', async () => {
    const { status, entries } = await asked('admin', 'updateAgency', { input: { name: 'NASA' } });
    expect(status).toBe(200);
    expect(entries.filter(({ action }) => action !== 'data.read')).toMatchObject([
      { ...who, action: 'agency.update', success: true },
    ]);
  });
});

describe('over a socket and over an event stream', () => {
  it('a subscription is told when it opens, and when its client has gone', async () => {
    const server = await startApi();
    const query = 'subscription Live { auditEntryAdded { seq } }';
    const tell = async (traceId: string): Promise<unknown[]> =>
      (await entriesOf(traceId)).map(({ action, after }) => [action, after['end'] ?? null]);
    const both = [
      ['subscription.open', null],
      ['subscription.close', 'LEFT'],
    ];
    try {
      const [socketTrace, streamTrace] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
      const socket = await openWire(server.url, { headers: { traceparent: `00-${socketTrace}-${'1'.repeat(16)}-01` } });
      socket.send({ type: 'connection_init', payload: { authorization: 'Bearer x' } });
      await socket.next();
      socket.send({ id: '1', type: 'subscribe', payload: { query } });
      await expect.poll(() => tell(socketTrace), { timeout: 25_000 }).toEqual(both.slice(0, 1));
      await socket.close();
      await expect.poll(() => tell(socketTrace), { timeout: 20_000 }).toEqual(both);

      const stream = await openEvents(
        server.url,
        'x',
        { query },
        { traceparent: `00-${streamTrace}-${'1'.repeat(16)}-01` },
      );
      await expect.poll(() => tell(streamTrace), { timeout: 25_000 }).toEqual(both.slice(0, 1));
      stream.leave();
      await expect.poll(() => tell(streamTrace), { timeout: 20_000 }).toEqual(both);
    } finally {
      await server.stop();
    }
  });
});

describe('gathering', () => {
  it('is as long for what comes after a write as for what came first', async () => {
    const gatherMs = 400;
    const own = databaseActivity(database, { gatherMs });
    const source = () => {
      const begun = performance.now();
      return new Promise<number>((resolve) => {
        own.watch({ agency: 'nasa', take: () => (resolve(performance.now() - begun), [aRead]) });
      });
    };
    const aRead = {
      actor: 'pat@example.gov',
      role: 'admin',
      action: 'data.read',
      resourceType: 'query',
      resourceId: null,
      success: true,
    };
    const first = source();
    await own.flush();
    await first;
    // So long that the end of the first one's time would come in the middle of the second's.
    await new Promise((resolve) => setTimeout(resolve, gatherMs / 2));
    // A timer may come a millisecond early.
    expect(await source()).toBeGreaterThan(gatherMs - 5);
    await own.stop();
    expect(own.complaints).toEqual([]);
  });
});

describe('while the database is away', () => {
  it('entries wait, what would make more of them is refused, and nothing is lost when it is back', async () => {
    const away = createPool({ url: database.apiUrl.replace(/:\d+\//, ':1/'), max: 1, applicationName: 'nowhere' });
    let pool = away;
    const switching = {
      ...away,
      withConnection: (use: Parameters<typeof away.withConnection>[0]) => pool.withConnection(use),
    };
    const broken = databaseActivity(database, { gatherMs: 10, waitingMax: 20, pool: switching as typeof away });
    const traces: string[] = [];
    let refused = 0;
    for (let i = 0; i < 30; i += 1) {
      const { traceId, context } = asker({}, { activity: broken });
      const { errors } = await graphql({ schema, source: '{ viewer { subject } }', contextValue: context });
      if (errors) refused += 1;
      else traces.push(traceId);
      if (errors) expect(errors[0]?.message).toContain('audit log cannot be written');
    }
    expect(traces).toHaveLength(20);
    expect(refused).toBe(10);
    await broken.flush();
    expect(broken.complaints.length).toBeGreaterThan(0);
    pool = database.apiPool();
    await broken.flush();
    const all = await auditBodies(database, 'nasa');
    for (const traceId of traces) expect(all.filter((entry) => entry['traceId'] === traceId)).toHaveLength(1);
    await broken.stop();
    await away.end();
  });
});
