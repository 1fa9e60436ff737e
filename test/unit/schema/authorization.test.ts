import SchemaBuilder from '@pothos/core';
import ErrorsPlugin from '@pothos/plugin-errors';
import { printSchemaWithDirectives } from '@graphql-tools/utils';
import { execute, type ExecutionResult, parse, subscribe } from 'graphql';
import { describe, expect, it } from 'vitest';

import type { Context, Denial } from '../../../resolvers/context.ts';
import '../../../schema/authorization.ts';
import type { AuthDecision } from '../../../schema/directives.ts';
import { type Role, scopesOf } from '../../../src/auth/roles.ts';
import { type FluxError } from '../../../src/errors.ts';

function createBuilder() {
  const builder = new SchemaBuilder<{ Context: Context }>({
    plugins: ['authorization', ErrorsPlugin],
    errors: { directResult: true },
  });
  builder.queryType({ description: 'Test.' });
  return builder;
}

function contextOf(role: Role, denials: Denial[] = [], expiresAt = new Date(Date.now() + 60_000)): Context {
  const principal = {
    subject: 's',
    agency: 'nasa',
    role,
    scopes: scopesOf(role),
    clearance: 0,
    tokenId: 't',
    expiresAt,
    issuer: 'i',
  };
  return {
    principal,
    tokenEnd: () => principal.expiresAt,
    onDenied: async (denial: Denial) => void denials.push(denial),
  } as unknown as Context;
}

describe('a schema', () => {
  it('with a field that nobody decided about does not build, and names every such field', () => {
    const builder = createBuilder();
    const Thing = builder.objectRef<{ name: string }>('Thing').implement({
      fields: (t) => ({
        name: t.exposeString('name'),
        secret: t.string({ auth: { scopes: [['data:read']] }, resolve: () => 'x' }),
        other: t.string({ resolve: () => 'x' }),
      }),
    });
    builder.queryField('thing', (t) => t.field({ type: Thing, auth: 'authenticated', resolve: () => ({ name: 'x' }) }));
    builder.queryField('forgotten', (t) => t.string({ resolve: () => 'x' }));
    expect(() => builder.toSchema()).toThrow(
      /The schema does not build:\n(?=[^]*Thing\.name has no)(?=[^]*Thing\.other has no)(?=[^]*Query\.forgotten has no)(?![^]*Thing\.secret)/,
    );
  });

  it('in which an interface forgot to decide does not build', () => {
    const builder = createBuilder();
    const Named = builder
      .interfaceRef<{ name: string }>('Named')
      .implement({ fields: (t) => ({ name: t.exposeString('name') }) });
    builder.objectType(builder.objectRef<{ name: string }>('Thing'), { interfaces: [Named], auth: 'authenticated' });
    builder.queryField('named', (t) => t.field({ type: Named, auth: 'authenticated', resolve: () => ({ name: 'x' }) }));
    expect(() => builder.toSchema()).toThrow(/Named\.name has no authorization decision/);
  });

  it('cannot hide root fields behind a decision of the root type', () => {
    const builder = createBuilder();
    builder.mutationType({ extensions: { auth: 'authenticated' } });
    builder.mutationField('change', (t) => t.string({ resolve: () => 'x' }));
    builder.queryField('x', (t) => t.string({ auth: 'public', resolve: () => 'x' }));
    expect(() => builder.toSchema()).toThrow(/Mutation carries a decision; each root field declares its own/);
  });

  it('does not build with a scoped field that cannot be null, or an empty list of scopes', () => {
    const withField = (auth: AuthDecision, nullable: boolean) => () => {
      const builder = createBuilder();
      const Thing = builder.objectRef<object>('Thing').implement({
        auth: 'authenticated',
        fields: (t) => ({ secret: t.string({ auth, nullable, resolve: () => 'x' }) }),
      });
      builder.queryField('thing', (t) => t.field({ type: Thing, auth: 'public', resolve: () => ({}) }));
      return builder.toSchema();
    };
    expect(withField({ scopes: [['data:read']] }, false)).toThrow(/Thing\.secret is under a scope and not nullable/);
    expect(withField({ scopes: [] }, true)).toThrow(/empty list of scopes/);
    expect(withField({ scopes: [[]] }, true)).toThrow(/empty list of scopes/);
    expect(withField({ scopes: [['data:read']] }, true)).not.toThrow();
    expect(withField('authenticated', false)).not.toThrow();
  });
});

describe('a decision', () => {
  const builder = createBuilder();
  const ran: string[] = [];
  const Entry = builder.objectRef<{ text: string }>('Entry').implement({
    auth: { scopes: [['audit:read']] },
    fields: (t) => ({
      text: t.exposeString('text'),
      ip: t.string({ auth: { scopes: [['security:read']] }, resolve: () => '10.0.0.1' }),
    }),
  });
  builder.queryField('entry', (t) =>
    t.field({ type: Entry, auth: 'authenticated', resolve: () => ({ text: 'hello' }) }),
  );
  builder.queryField('anyone', (t) => t.string({ auth: 'public', resolve: () => 'ok' }));
  builder.queryField('either', (t) =>
    t.string({
      auth: { scopes: [['run:write', 'data:read'], ['audit:read']] },
      args: { text: t.arg.string() },
      resolve: (_root, { text }) => {
        ran.push(`either ${String(text)}`);
        return 'ok';
      },
    }),
  );
  builder.subscriptionType({});
  builder.subscriptionField('ticks', (t) =>
    t.int({
      auth: { scopes: [['data:read']] },
      subscribe: async function* () {
        ran.push('subscribe');
        yield 1;
        yield 2;
      },
      resolve: (tick: number) => tick,
    }),
  );
  const schema = builder.toSchema();
  const run = (source: string, contextValue: Context): ExecutionResult | Promise<ExecutionResult> =>
    execute({ schema, document: parse(source), contextValue });
  const codes = ({ errors }: ExecutionResult): unknown[] =>
    (errors ?? []).map(({ originalError, path }) => [(originalError as FluxError).code, path?.join('.')]);

  it('reads its scopes as alternatives of sets', async () => {
    for (const [role, allowed] of [
      ['operator', true],
      ['analyzer', true],
      ['admin', true],
      ['viewer', false],
    ] as const) {
      const result = await run('{ either }', contextOf(role));
      expect(result.data).toEqual({ either: allowed ? 'ok' : null });
      expect(codes(result)).toEqual(allowed ? [] : [['FORBIDDEN', 'either']]);
    }
  });

  it('of a type holds for all its fields, and a field’s own comes on top', async () => {
    expect(await run('{ entry { text ip } }', contextOf('admin'))).toEqual({
      data: { entry: { text: 'hello', ip: '10.0.0.1' } },
    });
    const analyzer = await run('{ entry { text ip } }', contextOf('analyzer'));
    expect(analyzer.data).toEqual({ entry: { text: 'hello', ip: null } });
    expect(codes(analyzer)).toEqual([['FORBIDDEN', 'entry.ip']]);
    const viewer = await run('{ entry { text } }', contextOf('viewer'));
    expect(viewer.data).toEqual({ entry: { text: null } });
  });

  it('stops the resolver from running and is told to whoever keeps the audit log', async () => {
    ran.length = 0;
    const denials: Denial[] = [];
    await run('{ either(text: "x") }', contextOf('viewer', denials));
    expect(ran).toEqual([]);
    expect(denials).toEqual([{ field: 'Query.either', required: [['run:write', 'data:read'], ['audit:read']] }]);
  });

  it('refuses even what anyone may read once the token has ended, or when nobody is known', async () => {
    expect(codes(await run('{ anyone }', contextOf('admin', [], new Date(Date.now() - 1))))).toEqual([
      ['UNAUTHENTICATED', 'anyone'],
    ]);
    expect(codes(await run('{ anyone }', {} as Context))).toEqual([['UNAUTHENTICATED', 'anyone']]);
  });

  it('stops a subscription before its source is asked', async () => {
    ran.length = 0;
    const result = (await subscribe({
      schema,
      document: parse('subscription { ticks }'),
      contextValue: contextOf('viewer'),
    })) as ExecutionResult;
    expect(codes(result)).toEqual([['FORBIDDEN', 'ticks']]);
    expect(ran).toEqual([]);
  });

  it('is asked again for each event of a subscription', async () => {
    const context = contextOf('admin') as { principal: { expiresAt: Date } };
    const stream = (await subscribe({
      schema,
      document: parse('subscription { ticks }'),
      contextValue: context,
    })) as AsyncGenerator<ExecutionResult>;
    expect((await stream.next()).value).toEqual({ data: { ticks: 1 } });
    context.principal.expiresAt = new Date(Date.now() - 1);
    expect(codes((await stream.next()).value as ExecutionResult)).toEqual([['UNAUTHENTICATED', 'ticks']]);
  });
});

describe('the printed schema', () => {
  it('carries each decision as a directive', async () => {
    const { schema } = await import('../../../schema/schema.ts');
    const text = printSchemaWithDirectives(schema);
    expect(text).toMatch(/directive @requiresScopes\([^@]*scopes: \[\[Scope!\]!\]!\n?\) on FIELD_DEFINITION/s);
    expect(text).toMatch(/type Viewer @authenticated \{/);
    expect(text).toMatch(/interface Error @public \{/);
    expect(text).toMatch(/viewer: Viewer! @authenticated/);
    expect(schema.getDirectives().map(({ name }) => name)).toEqual(
      expect.arrayContaining(['include', 'skip', 'public', 'authenticated', 'requiresScopes']),
    );
  });
});
