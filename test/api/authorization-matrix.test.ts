import { readFileSync } from 'node:fs';

import {
  buildSchema,
  type ConstDirectiveNode,
  getNamedType,
  type GraphQLField,
  type GraphQLNamedType,
  isInterfaceType,
  isLeafType,
  isObjectType,
  isRequiredArgument,
  isUnionType,
  valueFromASTUntyped,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type Role, roles, scopesOf } from '../../src/auth/roles.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { apiDeps } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';
import { generateOperation, type Naming } from '../support/generated-operations.ts';
import { randomOf } from '../support/random.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';
import { type Filled, fillAgency, namingFor } from '../support/two-agencies.ts';
import { openEvents } from './event-wire.ts';
import { askRest, restRequest, routeOf } from './rest-wire.ts';
import type { Answer } from './serve.ts';
import { connectWire, type Wire } from './wire.ts';

/**
 * Every field, as every role, over every transport, against what schema.graphql declares. The declarations are read from the printed
 * file, not from the code that enforces them.
 */
const printed = buildSchema(readFileSync(new URL('../../schema/schema.graphql', import.meta.url), 'utf8'));
const database = useDatabase();
let own: Filled;
let naming: Naming;
let issuer: TestIssuer;
let server: ApiServer;
const tokens = new Map<Role, string>();
const wires = new Map<Role, Wire>();

beforeAll(async () => {
  const api = apiDeps(database);
  own = await fillAgency(database, 'matrix', api);
  naming = namingFor(own, own, { cursorKey: api.cursorKey, nobody: 'nobody' });
  issuer = await createTestIssuer('https://login.example.gov');
  server = await startApiServer(database, { issuers: [{ issuer, agencies: [own.slug] }] });
  for (const role of roles) {
    const token = await issuer.sign({ agency: own.slug, role, sub: `${role}@example.gov`, clearance: 'SCI' });
    tokens.set(role, token);
    wires.set(role, await connectWire(server.url, token));
  }
}, 120_000);
afterAll(async () => {
  await Promise.all([...wires.values()].map((wire) => wire.close()));
  await server?.stop();
});

type Decision = { scopes: string[][] } | 'open' | null;

function decisionOf(directives: readonly ConstDirectiveNode[] | undefined): Decision {
  for (const { name, arguments: given = [] } of directives ?? []) {
    if (name.value === 'public' || name.value === 'authenticated') return 'open';
    if (name.value === 'requiresScopes') {
      return { scopes: valueFromASTUntyped((given[0] as (typeof given)[number]).value) as string[][] };
    }
  }
  return null;
}

function allows(decision: Decision, role: Role): boolean {
  if (decision === null || decision === 'open') return true;
  const held = scopesOf(role) as ReadonlySet<string>;
  return decision.scopes.some((together) => together.every((scope) => held.has(scope)));
}

const mayRead = (type: GraphQLNamedType, field: GraphQLField<unknown, unknown>, role: Role): boolean =>
  allows(decisionOf(field.astNode?.directives), role) &&
  (['Query', 'Mutation', 'Subscription'].includes(type.name) || allows(decisionOf(type.astNode?.directives), role));

/** How a type is reached from a query: fields from the root on, each with the type that it is read on. */
interface Step {
  on: GraphQLNamedType;
  field: GraphQLField<unknown, unknown>;
  /** The type that the next step is read on. */
  to: GraphQLNamedType;
}

/** The shortest way to each object type, breadth first. */
function waysToTypes(): Map<string, Step[]> {
  const ways = new Map<string, Step[]>();
  const root = printed.getQueryType() as GraphQLNamedType;
  let front: { type: GraphQLNamedType; way: Step[] }[] = [{ type: root, way: [] }];
  while (front.length > 0) {
    const next: typeof front = [];
    for (const { type, way } of front) {
      if (!isObjectType(type)) continue;
      for (const field of Object.values(type.getFields())) {
        const named = getNamedType(field.type);
        // By a global id one gets a thing of one type; every type has another way.
        if (isLeafType(named) || named.name === 'Node' || !callOf(type, field)) continue;
        const targets = isUnionType(named) || isInterfaceType(named) ? printed.getPossibleTypes(named) : [named];
        for (const to of targets) {
          if (ways.has(to.name)) continue;
          const longer = [...way, { on: type, field, to }];
          ways.set(to.name, longer);
          next.push({ type: to, way: longer });
        }
      }
    }
    front = next;
  }
  return ways;
}

/** The call of a field with own things as arguments; null when what it needs is not known here. */
function callOf(type: GraphQLNamedType, field: GraphQLField<unknown, unknown>): string | null {
  const random = randomOf(1);
  const args: string[] = [];
  for (const arg of field.args) {
    // Pages within pages cost their product; what is compared needs no more than a few things of each.
    if (arg.name === 'first') args.push('first: 5');
    if (!isRequiredArgument(arg)) continue;
    const named = naming(`${type.name}.${field.name}.${arg.name}`, random);
    const scalar = getNamedType(arg.type).name;
    const value = named ? named.own : scalar === 'Int' || scalar === 'BigInt' ? 1 : null;
    if (value === null) {
      const kind = getNamedType(arg.type);
      const first = 'getValues' in kind ? kind.getValues()[0]?.name : undefined;
      if (first === undefined) return null;
      args.push(`${arg.name}: ${first}`);
    } else args.push(`${arg.name}: ${JSON.stringify(value)}`);
  }
  return `${field.name}${args.length > 0 ? `(${args.join(', ')})` : ''}`;
}

type Transport = 'http' | 'websocket' | 'sse';

/** The first result of an operation. */
async function ask(transport: Transport, role: Role, body: { query: string; variables?: object }): Promise<Answer> {
  const token = tokens.get(role) as string;
  if (transport === 'http') {
    const response = await fetch(`${server.url}${graphqlPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
    return (await response.json()) as Answer;
  }
  if (transport === 'sse') {
    const events = await openEvents(server.url, token, body);
    const first = await Promise.race([events.next(), silence()]);
    events.leave();
    return first?.data ?? {};
  }
  const wire = wires.get(role) as Wire;
  const id = crypto.randomUUID();
  wire.send({ id, type: 'subscribe', payload: body });
  const leave = setTimeout(
    () => wire.send({ type: 'ping', payload: { id } }),
    body.query.startsWith('sub') ? 1_500 : 60_000,
  );
  let answer: Answer | null = null;
  for (;;) {
    const message = await wire.next();
    const payload = message.payload as unknown;
    if (message.type === 'pong' && (payload as { id: string }).id === id) break;
    if (message.id !== id) continue;
    if (message.type === 'error') answer ??= { errors: payload as never };
    if (message.type === 'next') answer ??= payload as Answer;
    if (message.type !== 'next' || body.query.startsWith('sub')) break;
  }
  clearTimeout(leave);
  wire.send({ id, type: 'complete' });
  return answer ?? {};
}

/** A stream that was let in and has nothing to say. */
function silence(): Promise<null> {
  return new Promise((resolve) => setTimeout(() => resolve(null), 1_500).unref());
}

const forbiddenAt = ({ errors = [] }: Answer): string[] =>
  errors
    .filter(({ extensions }) => extensions['code'] === 'FORBIDDEN')
    .map(({ path = [] }) => path.filter((part) => typeof part === 'string').join('.'));

describe.each(['http', 'websocket', 'sse'] as const)('over %s', (transport) => {
  it.each(roles)('%s reads of every type exactly what is declared, and the rest of the answer stands', async (role) => {
    const wrong: string[] = [];
    let compared = 0;
    for (const [name, way] of waysToTypes()) {
      const type = printed.getType(name);
      if (!isObjectType(type)) continue;
      const fields = Object.values(type.getFields()).filter((field) => callOf(type, field) !== null);
      const calls = fields.map((field) => {
        const named = getNamedType(field.type);
        return `${callOf(type, field) ?? ''}${isLeafType(named) ? '' : ' { __typename }'}`;
      });
      const query = `{ ${way.reduceRight(
        (inner, step) => `${callOf(step.on, step.field) ?? ''} { __typename ... on ${step.to.name} { ${inner} } }`,
        calls.join(' '),
      )} }`;
      const answer = await ask(transport, role, { query });
      const told = forbiddenAt(answer);
      const blocked = way.findIndex((step) => !mayRead(step.on, step.field, role));
      if (blocked >= 0) {
        const place = way
          .slice(0, blocked + 1)
          .map(({ field }) => field.name)
          .join('.');
        if (told.length === 0 || !told.every((one) => one === place))
          wrong.push(`${name}: expected a refusal at ${place}\n${query}\n${JSON.stringify(answer)}`);
        continue;
      }
      if (
        answer.errors?.some(
          ({ extensions }) => extensions['code'] !== 'FORBIDDEN' && extensions['code'] !== 'UNAVAILABLE',
        )
      ) {
        wrong.push(`${name}: not answered\n${query}\n${JSON.stringify(answer)}`);
        continue;
      }
      const prefix = way.map(({ field }) => field.name).join('.');
      const things = thingsAt(
        answer.data,
        way.map(({ field }) => field.name),
      ).filter((one) => one['__typename'] === name);
      const expected = fields.filter((field) => !mayRead(type, field, role)).map((field) => `${prefix}.${field.name}`);
      // Something is there to be refused, or the refusal could not be seen.
      const seen = things.length > 0 ? expected : [];
      const unexpected = told.filter((one) => !expected.includes(one));
      if (unexpected.length > 0 || !seen.every((one) => told.includes(one))) {
        wrong.push(
          `${name}: expected ${seen.join(', ')}; found ${told.join(', ')}\n${query}\n${JSON.stringify(answer)}`,
        );
      }
      for (const thing of things) {
        compared += fields.length;
        for (const field of fields) {
          const value = thing[field.name];
          if (!(field.name in thing) || (!mayRead(type, field, role) && value !== null)) {
            wrong.push(`${name}.${field.name} is ${JSON.stringify(value)}\n${query}`);
          }
        }
      }
    }
    expect(wrong.join('\n\n').slice(0, 6_000)).toBe('');
    expect(compared).toBeGreaterThan(150);
  });

  it.each(roles)('%s may ask of every root field exactly what is declared', async (role) => {
    const wrong: string[] = [];
    const kinds = {
      query: printed.getQueryType(),
      mutation: printed.getMutationType(),
      subscription: printed.getSubscriptionType(),
    };
    for (const kind of ['query', 'mutation', 'subscription'] as const) {
      if (kind === 'subscription' && transport === 'http') continue;
      const type = kinds[kind];
      for (const field of Object.values(type?.getFields() ?? {})) {
        const operation = generateOperation(printed, { kind, field }, { random: randomOf(7), naming });
        const bare = `${/^.*? \{ \w+(\([^{]*?\))?/s.exec(operation.query)?.[0] ?? ''} { __typename } }`;
        // What it is asked is unknown to everybody: only whether it may be asked is the question.
        const answer = await ask(transport, role, { query: bare, variables: operation.variables('unknown') });
        const told = forbiddenAt(answer).filter((path) => path === field.name);
        const allowed = type !== null && type !== undefined && mayRead(type, field, role);
        if (allowed !== (told.length === 0))
          wrong.push(`${kind} ${field.name}: ${JSON.stringify(answer).slice(0, 500)}`);
        if (!allowed && answer.data && answer.data[field.name] !== null) wrong.push(`${kind} ${field.name} has data`);
      }
    }
    expect(wrong.join('\n')).toBe('');
  });
});

describe('over rest', () => {
  const queries = Object.values(printed.getQueryType()?.getFields() ?? {});
  const mutations = Object.values(printed.getMutationType()?.getFields() ?? {});

  it.each(roles)('%s gets of every answer exactly the fields that are declared for it', async (role) => {
    const wrong: string[] = [];
    let compared = 0;
    /** What an admin, who may read everything, gets at a place tells what is there to get. */
    const compare = (type: GraphQLNamedType, whole: unknown, seen: unknown, place: string): void => {
      if (Array.isArray(whole) && Array.isArray(seen)) {
        const both = Math.min(whole.length, seen.length);
        for (let i = 0; i < both; i += 1) compare(type, whole[i], seen[i], `${place}[]`);
        return;
      }
      if (!isRecord(whole) || !isRecord(seen) || whole['__typename'] !== seen['__typename']) return;
      const of = typeof whole['__typename'] === 'string' ? printed.getType(whole['__typename']) : type;
      if (!isObjectType(of)) return;
      for (const name of Object.keys(seen)) if (!(name in whole)) wrong.push(`${place}.${name} is not for an admin`);
      for (const [name, value] of Object.entries(whole)) {
        const field = of.getFields()[name];
        if (!field) continue;
        const named = getNamedType(field.type);
        const readable =
          mayRead(of, field, role) && (isLeafType(named) || allows(decisionOf(named.astNode?.directives), role));
        compared += 1;
        if (readable !== name in seen) wrong.push(`${place}.${name}: ${readable ? 'left out' : 'shown'}`);
        compare(named, value, seen[name], `${place}.${name}`);
      }
    };
    for (const field of queries) {
      const { variables } = generateOperation(printed, { kind: 'query', field }, { random: randomOf(3), naming });
      const given = { ...variables('own'), first: 5, last: null, after: null, before: null, filter: null };
      const request = restRequest(field.name, given);
      const whole = await askRest(server.url, tokens.get('admin') as string, request);
      const seen = await askRest(server.url, tokens.get(role) as string, request);
      if (![200, 404, 503].includes(whole.status)) wrong.push(`${request.path}: ${whole.text}`);
      const root = printed.getQueryType() as GraphQLNamedType;
      const value = whole.body['value'] ?? whole.body;
      // A thing that is found by its id may be of a type that the role may not read at all.
      const closed = [value].flat().some((one) => {
        const type = isRecord(one) ? printed.getType(String(one['__typename'])) : undefined;
        return isObjectType(type) && !allows(decisionOf(type.astNode?.directives), role);
      });
      if (!mayRead(root, field, role) || closed) {
        if (seen.status !== 403 || seen.body['code'] !== 'FORBIDDEN') wrong.push(`${request.path}: ${seen.text}`);
      } else if (seen.status !== whole.status) wrong.push(`${request.path}: ${seen.text}, not as for an admin`);
      else if (whole.status === 200) {
        compare(getNamedType(field.type), value, seen.body['value'] ?? seen.body, field.name);
      }
    }
    expect(wrong.join('\n').slice(0, 6_000)).toBe('');
    expect(compared).toBeGreaterThan(150);
  });

  it.each(roles)('%s may ask of every root field exactly what is declared', async (role) => {
    const wrong: string[] = [];
    for (const field of [...queries, ...mutations]) {
      const kind = routeOf(field.name).kind;
      const type = (kind === 'query' ? printed.getQueryType() : printed.getMutationType()) as GraphQLNamedType;
      const { variables } = generateOperation(printed, { kind, field }, { random: randomOf(7), naming });
      const request = restRequest(field.name, variables('unknown'));
      const { status, body, text } = await askRest(server.url, tokens.get(role) as string, request);
      const refused = status === 403 && body['code'] === 'FORBIDDEN';
      if (mayRead(type, field, role) === refused) wrong.push(`${kind} ${field.name}: ${String(status)} ${text}`);
      if (body['code'] === 'INTERNAL') wrong.push(`${kind} ${field.name}: ${text}`);
    }
    expect(wrong.join('\n')).toBe('');
  });

  it('no subscription is offered', () => {
    for (const name of Object.keys(printed.getSubscriptionType()?.getFields() ?? {})) {
      expect(() => routeOf(name)).toThrow();
    }
  });
});

describe('the declarations', () => {
  it('leave no field undecided, and no scope unknown', () => {
    const undecided: string[] = [];
    for (const type of Object.values(printed.getTypeMap())) {
      if ((!isObjectType(type) && !isInterfaceType(type)) || type.name.startsWith('__')) continue;
      for (const field of Object.values(type.getFields())) {
        const own = decisionOf(field.astNode?.directives);
        const decided = own ?? decisionOf(type.astNode?.directives);
        if (decided === null) undecided.push(`${type.name}.${field.name}`);
        else if (decided !== 'open') {
          const all = scopesOf('admin') as ReadonlySet<string>;
          expect(decided.scopes.flat().every((scope) => all.has(scope))).toBe(true);
        }
      }
    }
    expect(undecided).toEqual([]);
  });
});

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands at a place of an answer, lists spread out. */
function thingsAt(data: unknown, names: readonly string[]): Record<string, unknown>[] {
  return names.reduce<Record<string, unknown>[]>(
    (all, name) =>
      all.flatMap((one) => one[name] ?? []).filter((one) => typeof one === 'object') as Record<string, unknown>[],
    data ? [data as Record<string, unknown>] : [],
  );
}
