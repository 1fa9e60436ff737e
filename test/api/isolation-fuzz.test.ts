import { execute, type ExecutionResult, subscribe } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createContext } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import { createRequestContext } from '../../src/auth/request-context.ts';
import { type Role, roles } from '../../src/auth/roles.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { sql } from '../../src/db/sql.ts';
import { formatError } from '../../src/server/error-format.ts';
import { prepareOperation } from '../../src/server/operations.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { apiDeps, principalOf } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';
import {
  type GeneratedOperation,
  generateOperation,
  type Naming,
  type Whose,
} from '../support/generated-operations.ts';
import { randomOf } from '../support/random.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';
import { type Filled, fillAgency, namingFor } from '../support/two-agencies.ts';
import { webhookDeps } from '../support/webhook-policy.ts';
import { openEvents } from './event-wire.ts';
import { askRest, restRequest } from './rest-wire.ts';
import { connectWire } from './wire.ts';

/**
 * Generated operations of two agencies against each other. Each is asked with the caller's own things, with the other agency's and
 * with what nobody has: nothing marked as the other's may come back, and the last two answers must be the same to the byte, apart
 * from the ids of the request and from what the caller itself sent.
 */
const seed = Number(process.env['FLUX_FUZZ_SEED'] ?? Date.now() % 1_000_000_007);
const operations = Number(process.env['FLUX_FUZZ_OPERATIONS'] ?? 10_400);
/** Two agencies, four roles each. Of eight operations seven are GraphQL's and one is REST's. */
const operationsPerLane = (operations * 7) / 8 / 8;
const restOperationsPerLane = operations / 8 / 8;

const database = useDatabase();
const nobody = 'nadir-fuzz';
let alpha: Filled;
let omega: Filled;
let issuer: TestIssuer;
let server: ApiServer;

beforeAll(async () => {
  const api = apiDeps(database);
  alpha = await fillAgency(database, 'alpha-fuzz', api);
  omega = await fillAgency(database, 'omega-fuzz', api);
  issuer = await createTestIssuer('https://login.example.gov');
  server = await startApiServer(database, { issuers: [{ issuer, agencies: [alpha.slug, omega.slug] }] });
}, 120_000);
afterAll(() => server?.stop());

const fields = (['query', 'mutation', 'subscription'] as const).flatMap((kind) => {
  const type = {
    query: schema.getQueryType(),
    mutation: schema.getMutationType(),
    subscription: schema.getSubscriptionType(),
  }[kind];
  return Object.values(type?.getFields() ?? {}).map((field) => ({ kind, field }));
});

/** Sends an operation and gives the whole answer as text. */
type Ask = (operation: GeneratedOperation, variables: Record<string, unknown>, whose: Whose) => Promise<string>;

/** As the transports execute it, without the transport. */
function inProcess(own: Filled, role: Role, clearance: 0 | 5): Ask {
  const api = apiDeps(database, { pollMs: 10, ...webhookDeps });
  return async ({ query }, variables) => {
    const ending = new AbortController();
    const request = createRequestContext({
      principal: principalOf(own.slug, { role, clearance }),
      seal: sealKey(database.contextKey),
      requestId: 'r',
      traceId: 'f'.repeat(32),
      ip: '192.0.2.1',
      userAgent: null,
      signal: ending.signal,
    });
    const prepared = prepareOperation(schema, { query, variables }, { introspection: false });
    if (!('document' in prepared)) return textOf({ errors: prepared });
    const args = { ...prepared, contextValue: createContext(api, request) };
    const result = query.startsWith('subscription') ? await subscribe(args) : await execute(args);
    if (!(Symbol.asyncIterator in result)) return textOf(result);
    // A stream that has nothing to say now says nothing: two looks at the table are enough for what is there.
    const timer = setTimeout(() => ending.abort(), 25);
    const items: string[] = [];
    for await (const item of result as AsyncGenerator<ExecutionResult>) {
      items.push(textOf(item));
      if (items.length === 3) break;
    }
    clearTimeout(timer);
    ending.abort();
    return items.join('\n');
  };
}

function textOf({ data, errors }: ExecutionResult): string {
  return JSON.stringify({ data, errors: errors?.map((error) => formatError(error, { hideSuggestions: true })) });
}

/** Over REST: the server's own documents, which ask of each thing all that the role may read. */
function overRest(token: string): Ask {
  return async ({ field }, variables) => {
    const { status, text } = await askRest(server.url, token, restRequest(field, variables));
    return `${String(status)} ${text}`;
  };
}

/** Without what differs from request to request, and with what the caller sent written as such. */
function normalized(answer: string, variables: Record<string, unknown>): string {
  const sent = sentTexts(variables).sort((one, other) => other.length - one.length);
  return sent
    .reduce((text, value) => text.replaceAll(value, '<sent>'), answer)
    .replaceAll(/"(errorId[^"]*|traceId[^"]*|requestId[^"]*)":("[^"]*"|null)/g, '"$1":"<id>"');
}

/** For comparing two answers: a thing that a mutation has made just now has an id and times of its own. */
function comparable(answer: string, variables: Record<string, unknown>): string {
  return normalized(answer, variables).replaceAll(
    /"((?:id|operationId|createdAt|finishedAt)(?:_[^"]*)?)":"[^"]*"/g,
    '"$1":"<new>"',
  );
}

/** Where the caller's own feed stands moves on with whatever the other lanes start and cancel meanwhile. */
function wherever(answer: string, variables: Record<string, unknown>): string {
  return normalized(answer, variables).replaceAll(/"(endCursor(?:_[^"]*)?)":"[^"]*"/g, '"$1":"<place>"');
}

function wordingOf({ kind, field }: GeneratedOperation): typeof normalized {
  if (kind === 'mutation') return comparable;
  return field === 'runChanges' ? wherever : normalized;
}

/** The same with a key of its own for each asking: a key that comes again with another request is refused, whatever it names. */
function ownKeyed<T>(value: T, suffix: string): T {
  if (Array.isArray(value) || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, part]: [string, unknown]) => [
      name,
      name === 'idempotencyKey' && typeof part === 'string' ? `${part}${suffix}` : ownKeyed(part, suffix),
    ]),
  ) as T;
}

function sentTexts(value: unknown): string[] {
  if (typeof value === 'string') {
    const decoded = Buffer.from(value, 'base64url').toString('utf8');
    const [type, id] = /^([A-Z]\w+):(.+)$/.exec(decoded)?.slice(1) ?? [];
    return [...(value.length > 6 ? [value] : []), ...(type && id ? [id, id.split('@')[0] as string] : [])];
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(sentTexts) : [];
}

/** What of the other agency stands in an answer, whatever it was asked. */
function leaks(answer: string, foreign: Filled, variables: Record<string, unknown>): string[] {
  // A bulk operation tells the filter that it was asked with: the caller's own words of an earlier turn.
  const text = normalized(answer, variables).replaceAll(/"filter(_[^"]*)?":\{[^{}]*\}/g, '"filter":"<asked>"');
  const { canary, slug, runs, checkpoints, subscriptions, schedules, backfills, webhooks: hooks, deliveries } = foreign;
  const secrets = [
    canary,
    slug,
    ...runs,
    ...checkpoints,
    ...subscriptions,
    ...schedules,
    ...backfills,
    ...hooks,
    ...deliveries,
  ];
  return secrets.flatMap((secret) =>
    [secret, ...identified.map((type) => encoded(type, secret))].filter((one) => text.includes(one)),
  );
}

const identified = [
  'Run',
  'Checkpoint',
  'LiveSubscription',
  'Agency',
  'Schedule',
  'Backfill',
  'Webhook',
  'WebhookDelivery',
];

function encoded(type: string, id: string): string {
  return Buffer.from(`${type}:${id}`).toString('base64url');
}

interface Lane {
  own: Filled;
  foreign: Filled;
  ask: Ask;
  naming: Naming;
  seed: number;
  operations: number;
  /** Every root field if absent. */
  targets?: typeof fields;
}

interface Tally {
  operations: number;
  /** Refused before anything was asked: too large. */
  refused: number;
  failures: string[];
  asked: Map<string, Set<Whose>>;
}

async function attack(lane: Lane): Promise<Tally> {
  const { foreign, ask, naming, seed: laneSeed, operations: wantedOperations, targets = fields } = lane;
  const random = randomOf(laneSeed);
  const tally: Tally = { operations: 0, refused: 0, failures: [], asked: new Map() };
  for (let turn = 0; tally.operations < wantedOperations && tally.failures.length < 3; turn += 1) {
    // Every field in turn, so that each has its share; what it is asked is chance.
    const target = targets[turn % targets.length] as (typeof fields)[number];
    const operation = generateOperation(schema, target, { random, naming });
    const answers = new Map<Whose, string>();
    const kinds: Whose[] = operation.names ? ['own', 'foreign', 'unknown'] : ['own'];
    const wanted = operation.names && random.chance(0.7) ? kinds.slice(1) : kinds;
    for (const whose of wanted) {
      const variables = ownKeyed(operation.variables(whose), `-${String(laneSeed)}-${String(turn)}-${whose}`);
      const answer = await ask(operation, variables, whose);
      tally.operations += 1;
      if (answer.includes('"LIMIT_EXCEEDED"') || answer.includes('"GRAPHQL')) tally.refused += 1;
      answers.set(whose, wordingOf(operation)(answer, variables));
      const place = `${operation.kind} ${operation.field}`;
      tally.asked.set(place, (tally.asked.get(place) ?? new Set()).add(whose));
      const leaked = leaks(answer, foreign, variables);
      if (leaked.length > 0) {
        tally.failures.push(
          `LEAK of ${leaked.join(', ')}\n${operation.query}\n${JSON.stringify(variables)}\n${answer}`,
        );
      }
    }
    if (operation.names && answers.get('foreign') !== answers.get('unknown')) {
      tally.failures.push(
        `HINT: foreign and unknown differ\n${operation.query}\n${JSON.stringify(operation.variables('foreign'))}\n` +
          `foreign: ${answers.get('foreign') ?? ''}\nunknown: ${answers.get('unknown') ?? ''}`,
      );
    }
  }
  return tally;
}

/** Everything that an agency has, as one digest: what others do must not change it. */
async function digestOf({ slug }: Filled): Promise<string> {
  const { rows: tables } = await database.admin().query<{ name: string }>(sql`
    select c.relname::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'agency_id'
    where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p') order by 1
  `);
  const parts = await Promise.all(
    tables.map(async ({ name }) => {
      const { rows } = await database
        .admin()
        .withConnection((connection) =>
          connection.client.query<{ digest: string }>(
            `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as digest from flux."${name}" t where agency_id = $1`,
            [slug],
          ),
        );
      return `${name}=${rows[0]?.digest ?? ''}`;
    }),
  );
  return parts.join(' ');
}

const said = (tallies: readonly Tally[]): string =>
  tallies
    .flatMap(({ failures }) => failures)
    .join('\n\n')
    .slice(0, 8_000);

describe(`isolation, seed ${String(seed)} (FLUX_FUZZ_SEED repeats it)`, () => {
  it.each([
    ['alpha', 'omega'],
    ['omega', 'alpha'],
  ])(
    'shows the agency %s nothing of %s, nor whether it is there, in thousands of generated operations of every role',
    async (attacker) => {
      const [own, foreign] = attacker === 'alpha' ? [alpha, omega] : [omega, alpha];
      const before = await digestOf(foreign);
      const { cursorKey } = apiDeps(database);
      const naming = namingFor(own, foreign, { cursorKey, nobody });
      const tallies = await Promise.all(
        roles.map((role, n) =>
          attack({
            own,
            foreign,
            naming,
            ask: inProcess(own, role, n % 2 === 0 ? 5 : 0),
            seed: seed + n + (attacker === 'alpha' ? 0 : 100),
            operations: operationsPerLane,
          }),
        ),
      );
      expect(said(tallies), `seed ${String(seed)}`).toBe('');
      expect(tallies.reduce((sum, { operations }) => sum + operations, 0)).toBeGreaterThanOrEqual(
        operationsPerLane * 4,
      );
      const refused = tallies.reduce((sum, tally) => sum + tally.refused, 0);
      expect(refused).toBeLessThan(operationsPerLane * 4 * 0.25);
      // Nobody left out: every root field, and whatever names a thing with what is foreign and what is nobody's.
      for (const { asked } of tallies) expect(asked.size).toBe(fields.length);
      const answered = [...(tallies[0]?.asked ?? [])].filter(
        ([, whose]) => whose.has('foreign') && whose.has('unknown'),
      );
      expect(answered.length).toBeGreaterThan(fields.length / 2);
      expect(await digestOf(foreign)).toBe(before);
    },
    300_000,
  );

  it.each([
    ['alpha', 'omega'],
    ['omega', 'alpha'],
  ])('shows the agency %s nothing of %s over rest, in an eighth of them', async (attacker) => {
    const [own, foreign] = attacker === 'alpha' ? [alpha, omega] : [omega, alpha];
    const before = await digestOf(foreign);
    const naming = namingFor(own, foreign, { cursorKey: apiDeps(database).cursorKey, nobody });
    const targets = fields.filter(({ kind }) => kind !== 'subscription');
    const tallies = await Promise.all(
      roles.map(async (role, n) => {
        const clearance = n % 2 === 0 ? 'SCI' : 'U';
        const token = await issuer.sign({ agency: own.slug, role, clearance, sub: `${role}@example.gov` });
        return attack({
          own,
          foreign,
          naming,
          targets,
          ask: overRest(token),
          seed: seed + 300 + n + (attacker === 'alpha' ? 0 : 100),
          operations: restOperationsPerLane,
        });
      }),
    );
    expect(said(tallies), `seed ${String(seed)}`).toBe('');
    for (const { asked, operations: done } of tallies) {
      expect(done).toBeGreaterThanOrEqual(restOperationsPerLane);
      expect(asked.size).toBe(targets.length);
    }
    expect(await digestOf(foreign)).toBe(before);
  });

  it('finds what it is there to find: a leak, and an answer that tells', async () => {
    const naming = namingFor(alpha, omega, { cursorKey: apiDeps(database).cursorKey, nobody });
    const common = { own: alpha, foreign: omega, naming, seed, operations: 200 };
    const asVictim = await attack({ ...common, ask: inProcess(omega, 'admin', 5) });
    expect(said([asVictim])).toMatch(/LEAK|HINT/);
    const victimsToken = await issuer.sign({ agency: omega.slug, role: 'viewer', sub: 'viewer@example.gov' });
    const targets = fields.filter(({ kind }) => kind === 'query');
    expect(said([await attack({ ...common, targets, ask: overRest(victimsToken) })])).toMatch(/LEAK/);
    const telling: Ask = (_operation, variables) =>
      Promise.resolve(JSON.stringify(variables).includes(omega.slug) ? 'not yours' : 'no such thing');
    expect(said([await attack({ ...common, ask: telling })])).toMatch(/HINT/);
  });

  it.each(['http', 'websocket', 'sse'] as const)('shows nothing either over %s, on a sample', async (transport) => {
    const naming = namingFor(alpha, omega, { cursorKey: apiDeps(database).cursorKey, nobody });
    const tallies = await Promise.all(
      roles.map(async (role, n) => {
        const token = await issuer.sign({ agency: alpha.slug, role, sub: `${role}@example.gov` });
        const { ask, close } = await over(transport, token);
        const tally = await attack({ own: alpha, foreign: omega, naming, ask, seed: seed + 200 + n, operations: 120 });
        await close();
        return tally;
      }),
    );
    expect(said(tallies), `seed ${String(seed)}`).toBe('');
  });
});

/** How long a stream may say nothing: what is not the caller's is refused, and until then it is worth waiting for. */
const patienceMs = (whose: Whose): number => (whose === 'own' ? 100 : 2_000);

/** The same over a real connection. */
async function over(
  transport: 'http' | 'websocket' | 'sse',
  token: string,
): Promise<{ ask: Ask; close(): Promise<void> }> {
  if (transport === 'http') {
    return {
      ask: async ({ query }, variables) => {
        const response = await fetch(`${server.url}${graphqlPath}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
          body: JSON.stringify({ query, variables }),
        });
        return `${String(response.status)} ${await response.text()}`;
      },
      close: () => Promise.resolve(),
    };
  }
  if (transport === 'sse') {
    return {
      ask: async ({ kind, query }, variables, whose) => {
        const wire = await openEvents(server.url, token, { query, variables });
        const timer = kind === 'subscription' ? setTimeout(() => wire.leave(), patienceMs(whose)) : undefined;
        const items: string[] = [];
        try {
          for (let event = await wire.next(); event && items.length < 3; event = await wire.next()) {
            items.push(JSON.stringify(event));
          }
        } catch {
          // Left: a stream that had nothing more to say.
        }
        clearTimeout(timer);
        wire.leave();
        return items.join('\n');
      },
      close: () => Promise.resolve(),
    };
  }
  const wire = await connectWire(server.url, token);
  let id = 0;
  return {
    ask: async ({ kind, query }, variables, whose) => {
      id += 1;
      const mine = String(id);
      wire.send({ id: mine, type: 'subscribe', payload: { query, variables } });
      const items: string[] = [];
      const leave = (): void => {
        wire.send({ id: mine, type: 'complete' });
        wire.send({ type: 'ping', payload: { after: mine } });
      };
      const timer = kind === 'subscription' ? setTimeout(leave, patienceMs(whose)) : undefined;
      for (;;) {
        const message = await wire.next();
        const ponged = message.type === 'pong' && (message.payload as unknown as { after: string }).after === mine;
        if (message.id === mine) items.push(JSON.stringify({ ...message, id: '' }));
        if (ponged || (message.id === mine && message.type !== 'next')) break;
      }
      clearTimeout(timer);
      return items.slice(0, 3).join('\n');
    },
    close: () => wire.close(),
  };
}
