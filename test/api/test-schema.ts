import type { GraphQLSchema } from 'graphql';

import { builder } from '../../schema/builder.ts';
import { TerminalError, TransientError, ValidationError } from '../../schema/errors.ts';
import '../../schema/scalars.ts';
import '../../schema/viewer.ts';
import { FluxError } from '../../src/errors.ts';

/** What the test subscriptions did; a test that looks at it resets it. */
export const subscriptions = { opened: 0, closed: 0, sent: 0 };
let wake: (() => void)[] = [];

/** Lets every waiting subscription send one more. */
export function tick(): void {
  const waiting = wake;
  wake = [];
  for (const go of waiting) go();
}

const gathered = new WeakMap<object, Promise<string>>();

const Loop = builder.objectRef<object>('Loop');
Loop.implement({
  description: 'Goes as deep as one likes.',
  auth: 'authenticated',
  fields: (t) => ({
    loop: t.field({ type: Loop, description: 'The same again.', resolve: () => ({}) }),
    pages: t.field({
      type: [Loop],
      description: 'A list with a page size.',
      args: { first: t.arg.int({ description: 'How many.' }) },
      resolve: (_loop, { first }) => Array.from({ length: first ?? 50 }, () => ({})),
    }),
    text: t.string({ description: 'Text.', resolve: () => 'text' }),
    secret: t.string({ auth: { scopes: [['security:read']] }, description: 'Secret.', resolve: () => 'secret' }),
  }),
});

builder.queryFields((t) => ({
  loop: t.field({ type: Loop, auth: 'authenticated', description: 'Loop.', resolve: () => ({}) }),
  pages: t.field({
    type: [Loop],
    auth: 'authenticated',
    description: 'A list with a page size.',
    args: { first: t.arg.int({ description: 'How many.' }) },
    resolve: (_root, { first }) => Array.from({ length: first ?? 50 }, () => ({})),
  }),
  slow: t.string({
    auth: 'authenticated',
    description: 'Never answers; counts in `subscriptions` when its signal ends it.',
    resolve: (_root, _args, ctx) =>
      new Promise<string>((resolve) => {
        subscriptions.opened += 1;
        ctx.signal.addEventListener('abort', () => {
          subscriptions.closed += 1;
          resolve('ended');
        });
      }),
  }),
  late: t.string({
    auth: 'authenticated',
    description: 'Fails when its signal ends it; counts in `subscriptions`.',
    resolve: (_root, _args, ctx) =>
      new Promise<string>((_resolve, reject) => {
        subscriptions.opened += 1;
        ctx.signal.addEventListener('abort', () => {
          subscriptions.closed += 1;
          reject(new Error('canceling statement due to user request'));
        });
      }),
  }),
  together: t.string({
    auth: 'authenticated',
    description: 'Fails for one cause that all who ask in the same operation wait for.',
    resolve: (_root, _args, ctx) => {
      const failing = gathered.get(ctx) ?? Promise.reject(new Error('the gathered read failed'));
      gathered.set(ctx, failing);
      return failing;
    },
  }),
  numbers: t.intList({
    auth: 'authenticated',
    description: 'As many as asked.',
    args: { first: t.arg.int({ description: 'How many.' }), value: t.arg({ type: 'JSON', description: 'Anything.' }) },
    resolve: (_root, { first }) => Array.from({ length: first ?? 50 }, (_, i) => i),
  }),
  broken: t.string({
    auth: 'authenticated',
    description: 'Always fails.',
    resolve: () => {
      throw new Error('duplicate key value violates unique constraint "runs_pkey" on 10.0.0.7');
    },
  }),
  brokenAndNeeded: t.string({
    auth: 'authenticated',
    nullable: false,
    description: 'Always fails.',
    resolve: () => {
      throw new Error('select * from flux.runs');
    },
  }),
  failing: t.string({
    auth: 'authenticated',
    nullable: false,
    description: 'Fails with a code.',
    args: { code: t.arg.string({ required: true, description: 'Code.' }) },
    resolve: (_root, { code }) => {
      if (code === 'ECONNREFUSED') throw Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:5432'), { code });
      throw new FluxError(code as 'INTERNAL', `It is ${code}.`);
    },
  }),
  agencyWhoAsks: t.string({
    auth: 'authenticated',
    description: 'The agency of the token.',
    resolve: (_root, _args, ctx) => `${ctx.principal.agency} ${ctx.sealed().split('|')[0] ?? ''}`,
  }),
}));

const things = new Map([['1', { id: '1', agency: 'nasa' }]]);
builder.node(builder.objectRef<{ id: string; agency: string }>('Thing'), {
  description: 'Has a global id.',
  auth: 'authenticated',
  id: { resolve: ({ id }) => id },
  loadMany: (ids) => ids.map((id) => things.get(id) ?? null),
  fields: (t) => ({ agency: t.exposeString('agency', { description: 'Whose.' }) }),
});

const Done = builder.objectRef<object>('Done').implement({
  description: 'It is done.',
  auth: 'authenticated',
  fields: (t) => ({ ok: t.boolean({ description: 'True.', resolve: () => true }) }),
});

builder.mutationType({ description: 'Changes.' });
builder.mutationField('attempt', (t) =>
  t.field({
    type: Done,
    nullable: false,
    auth: { scopes: [['run:write']] },
    errors: { types: [ValidationError, TransientError, TerminalError] },
    description: 'Fails as asked.',
    args: { code: t.arg.string({ description: 'Code.' }) },
    resolve: (_root, { code }) => {
      if (code === 'raw') throw new Error('select secret from flux.runs');
      if (code) {
        throw new FluxError(code as 'INTERNAL', `It is ${code}.`, {
          details: { issues: [{ path: '/a', rule: 'type', message: 'm' }], candidates: ['b'] },
        });
      }
      return {};
    },
  }),
);

builder.subscriptionType({ description: 'Follows.' });
builder.subscriptionFields((t) => ({
  ticks: t.int({
    auth: { scopes: [['data:read']] },
    description: 'A number for each tick; between two it waits, deaf to everything but the signal.',
    subscribe: (_root, _args, ctx) => ticks(ctx.signal),
    resolve: (count: number) => count,
  }),
  three: t.int({
    auth: 'authenticated',
    description: 'Three numbers.',
    subscribe: async function* () {
      yield 1;
      yield 2;
      yield 3;
    },
    resolve: (count: number) => count,
  }),
  flood: t.string({
    auth: 'authenticated',
    description: 'As much as the client takes, 64 KiB at a time.',
    subscribe: (_root, _args, ctx) => flood(ctx.signal),
    resolve: (text: string) => text,
  }),
  failingLater: t.int({
    auth: 'authenticated',
    description: 'One number, then a failure.',
    subscribe: async function* () {
      yield 1;
      throw new Error('relation flux.secret does not exist');
    },
    resolve: (count: number) => count,
  }),
}));

async function* flood(signal: AbortSignal): AsyncGenerator<string> {
  subscriptions.opened += 1;
  try {
    for (; !signal.aborted; subscriptions.sent += 1) yield 'x'.repeat(65_536);
  } finally {
    subscriptions.closed += 1;
  }
}

async function* ticks(signal: AbortSignal): AsyncGenerator<number> {
  subscriptions.opened += 1;
  try {
    for (let count = 1; !signal.aborted; count++) {
      yield count;
      await new Promise<void>((resolve) => {
        wake.push(resolve);
        signal.addEventListener('abort', () => resolve());
      });
    }
  } finally {
    subscriptions.closed += 1;
  }
}

export function testSchema(): GraphQLSchema {
  return builder.toSchema();
}
