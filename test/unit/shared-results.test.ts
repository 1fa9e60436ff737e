import { GraphQLInt, GraphQLObjectType, GraphQLSchema, parse } from 'graphql';
import { expect, test } from 'vitest';

import { createResultSharing, type SharedResults } from '../../src/server/shared-results.ts';
import { createLogger } from '../../src/telemetry/logger.ts';

interface Item {
  value: number;
}

/** A subscriber of equal rights, whose part in an item's result can be held back. */
interface Subscriber {
  principal: object;
  requestId: string;
  traceId: string;
  signal: AbortSignal;
  tokenEnd(): Date;
  held: Promise<void>;
}

const started: Subscriber[] = [];
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { none: { type: GraphQLInt } } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      tick: {
        type: GraphQLInt,
        subscribe: () => ({ batches: {}, [Symbol.asyncIterator]: () => ({}) }),
        resolve: async ({ value }: Item, _args, context: Subscriber) => {
          started.push(context);
          await context.held;
          if (context.signal.aborted || context.tokenEnd().getTime() <= Date.now()) throw new Error('its own end');
          return value;
        },
      },
    },
  }),
});
const document = parse('subscription { tick }');
const principal = { agency: 'nasa', role: 'viewer', clearance: 0, scopes: new Set(['run:read']) };

function subscriber() {
  const gone = new AbortController();
  const gate = Promise.withResolvers<void>();
  let end = new Date(Date.now() + 60_000);
  const context: Subscriber = {
    principal,
    requestId: 'r',
    traceId: 't',
    signal: gone.signal,
    tokenEnd: () => end,
    held: gate.promise,
  };
  return {
    context,
    goOn: () => gate.resolve(),
    leave: () => gone.abort(),
    expire: () => (end = new Date(0)),
  };
}

const sharing = createResultSharing({
  logger: createLogger({ service: 'test', level: 'silent' }),
  production: false,
});
const results = async (context: Subscriber): Promise<SharedResults> =>
  (await sharing.subscribe({ schema, document, contextValue: context })) as SharedResults;

test.each(['leave', 'expire'] as const)(
  'the failure of an executor that is to %s is nobody else’s answer',
  async (how) => {
    started.length = 0;
    const subscribers = [subscriber(), subscriber(), subscriber()] as const;
    const shared = await Promise.all(subscribers.map(({ context }) => results(context)));
    const item: Item = { value: 7 };
    const texts = shared.map((one) => Promise.resolve(one.textOf(item)));
    expect(started).toEqual([subscribers[0].context]);

    subscribers[0][how]();
    for (const { goOn } of subscribers) goOn();
    const [own, ...others] = (await Promise.all(texts)).map((text) => JSON.parse(text) as object);
    expect(own).toMatchObject({ data: { tick: null }, errors: [{}] });
    expect(others).toEqual([{ data: { tick: 7 } }, { data: { tick: 7 } }]);
    // Those who waited share again: one of them has executed for both, and for whoever comes later.
    expect(started).toEqual([subscribers[0].context, subscribers[1].context]);
    expect((await results(subscriber().context)).textOf(item)).toBe('{"data":{"tick":7}}');
  },
);

test('an error that is everybody’s is shared like any result', async () => {
  started.length = 0;
  const [one, other] = [subscriber(), subscriber()];
  const item = { value: 'no number' } as unknown as Item;
  const texts = (await Promise.all([results(one.context), results(other.context)])).map((shared) =>
    Promise.resolve(shared.textOf(item)),
  );
  one.goOn();
  const answers = await Promise.all(texts);
  expect(answers[0]).toBe(answers[1]);
  expect(JSON.parse(answers[0] as string)).toMatchObject({ data: { tick: null }, errors: [{}] });
  expect(started).toHaveLength(1);
});
