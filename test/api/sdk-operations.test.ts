/** The SDK's operations against the API: what it sends, what it tries again, and how failures look. */
import { readdirSync, readFileSync } from 'node:fs';

import { buildSchema, getNamedType, isInputObjectType, Kind, OperationTypeNode, parse, validate } from 'graphql';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { createFlux, type Flux, FluxError, isFluxError, type Problem, successOf } from '#sdk';
import { measureDocument } from '../../src/server/document-size.ts';
import { sha256Hex } from '../../src/crypto/hash.ts';
import { auditOf, countRows } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { ensureWebhookKeys, definitions, serveApi } from '../support/served-api.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const database = useDatabase();
const api = serveApi(database);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const root = new URL('../../', import.meta.url);
const sdl = buildSchema(readFileSync(new URL('schema/schema.graphql', root), 'utf8'));
const manifest = JSON.parse(readFileSync(new URL('sdk/generated/persisted-documents.json', root), 'utf8')) as Record<
  string,
  string
>;

function client(token = 'nasa/operator', url = api.url): Flux {
  const flux = createFlux({ url, token });
  cleanups.push(() => flux.close());
  return flux;
}

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  await ensureWebhookKeys(database);
  const flux = createFlux({ url: api.url, token: 'nasa/admin' });
  successOf(await flux.api.registerConnection({ definition: definitions.connection }));
  successOf(await flux.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await flux.api.registerPipeline({ definition: definitions.pipeline }));
  flux.close();
});

it('the commands send no documents but these, which a server that enforces trusted ones knows', () => {
  const commands = new URL('src/cli/', root);
  const own = readdirSync(commands, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .filter((name) =>
      /GraphQL \*\/|client\.request\(|\b(query|mutation|subscription) \w+ ?[({]/.test(
        readFileSync(new URL(name, commands), 'utf8'),
      ),
    );
  expect(own).toEqual([]);
});

describe('the documents', () => {
  const documents = Object.entries(manifest);

  it('fit the schema and its limits, and are named by their hashes', () => {
    for (const [hash, text] of documents) {
      expect(hash).toBe(`sha256:${sha256Hex(text)}`);
      const document = parse(text, { maxTokens: 1_000 });
      expect(validate(sdl, document)).toEqual([]);
      expect(measureDocument(document)).toEqual([]);
    }
  });

  it('ask for every root field of the schema', () => {
    const asked = new Set(
      documents
        .flatMap(([, text]) => parse(text).definitions)
        .filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
        .flatMap(({ operation, selectionSet }) =>
          selectionSet.selections.map((field) => (field.kind === Kind.FIELD ? `${operation} ${field.name.value}` : '')),
        ),
    );
    const offered = Object.values(OperationTypeNode).flatMap((kind) =>
      Object.keys(sdl.getRootType(kind)?.getFields() ?? {}).map((name) => `${kind} ${name}`),
    );
    expect(offered.filter((name) => !asked.has(name))).toEqual([]);
  });

  it('give every mutation a key, because every input takes one', () => {
    for (const { name, args } of Object.values(sdl.getMutationType()?.getFields() ?? {})) {
      const input = getNamedType(args[0]?.type);
      expect([name, args.length, isInputObjectType(input) && 'idempotencyKey' in input.getFields()]).toEqual([
        name,
        1,
        true,
      ]);
    }
  });
});

describe('queries', () => {
  it('answer what the root field is', async () => {
    expect(await client('noaa/viewer').api.viewer()).toMatchObject({ agency: 'noaa', role: 'VIEWER' });
    expect(await client().api.pipeline({ name: 'readings' })).toMatchObject({ __typename: 'Pipeline', version: 1 });
    expect(await client().api.run({ id: '00000000-0000-7000-8000-000000000000' })).toBeNull();
  });

  it('walk a list page by page', async () => {
    const flux = client();
    const started = new Set<string>();
    for (let i = 0; i < 5; i += 1) started.add(successOf(await flux.api.startRun({ pipeline: 'readings' })).id);
    const seen: string[] = [];
    for await (const run of flux.runs.all({ first: 2 })) seen.push(run.id);
    expect(new Set(seen)).toEqual(started);
    expect(seen).toHaveLength(5);
  });

  it('leave null what the role may not read, and fail when it may read nothing', async () => {
    const id = successOf(await client().api.startRun({ pipeline: 'readings' })).id;
    expect(await client('nasa/viewer').api.rejectedRecords({ id })).toMatchObject({ rejectedRecords: null });
    await expect(client('nasa/viewer').api.auditEntries()).rejects.toMatchObject({
      problem: { __typename: 'AuthorizationError', code: 'FORBIDDEN', retryable: false },
    });
  });
});

describe('mutations', () => {
  it('happen once although the reply to the first try is lost', async () => {
    const proxy = await startTcpProxy(() => api.port);
    cleanups.push(() => proxy.close());
    const before = await countRows(database, 'nasa', 'runs');
    const passed = proxy.passed;
    proxy.loseNextReply();
    const run = successOf(await client('nasa/operator', proxy.url).api.startRun({ pipeline: 'readings' }));
    expect(proxy.passed - passed).toBe(2);
    expect(await countRows(database, 'nasa', 'runs')).toBe(before + 1);
    const starts = (await auditOf(database, 'nasa')).filter(
      ({ action, resource_id }) => action === 'run.start' && resource_id === run.runId,
    );
    expect(starts).toHaveLength(1);
  });

  it('happen twice when they are asked for twice, and once under a key of the caller’s own', async () => {
    const { api: operations } = client();
    const [a, b] = [
      await operations.startRun({ pipeline: 'readings' }),
      await operations.startRun({ pipeline: 'readings' }),
    ];
    expect(successOf(a).id).not.toBe(successOf(b).id);
    const mine = { pipeline: 'readings', idempotencyKey: 'mine' };
    expect(successOf(await operations.startRun(mine)).id).toBe(successOf(await operations.startRun(mine)).id);
  });

  it('answer what they expect to go wrong, told apart by __typename', async () => {
    const result = await client().api.startRun({ pipeline: 'nothing' });
    if (result.__typename !== 'ValidationError')
      throw new Error(`expected a ValidationError, got ${result.__typename}`);
    expect(result).toMatchObject({ code: 'PIPELINE_NOT_FOUND', candidates: ['readings (text, research)'] });
    expect(() => successOf(result)).toThrow(FluxError);
    expect(
      await client('nasa/viewer')
        .api.startRun({ pipeline: 'readings' })
        .catch((error: unknown) => error),
    ).toSatisfy((error) => isFluxError(error, 'FORBIDDEN'));
  });

  it('throw what has a name for every class', () => {
    const say = (problem: Problem): string => {
      switch (problem.__typename) {
        case 'ValidationError':
          return problem.issues.map(({ path }) => path).join();
        case 'TransientError':
        case 'TerminalError':
        case 'DataIsolationError':
        case 'CheckpointError':
        case 'AuthenticationError':
        case 'AuthorizationError':
          return problem.class;
      }
    };
    const error = {
      __typename: 'ValidationError',
      class: 'VALIDATION',
      code: 'INVALID_INPUT',
      message: 'no',
      issues: [],
    };
    expect(() => successOf(error)).toThrow(FluxError);
    expect(say({ ...error, errorId: '', retryable: false, traceId: null, candidates: [] } as Problem)).toBe('');
  });
});

describe('when nothing answers', () => {
  it('says so after a few tries', async () => {
    const proxy = await startTcpProxy(() => api.port);
    cleanups.push(() => proxy.close());
    proxy.block(/./);
    await expect(client('nasa/operator', proxy.url).api.viewer()).rejects.toMatchObject({
      problem: { __typename: 'TransientError', code: 'UNAVAILABLE', retryable: true },
    });
  });

  it('stops trying when its signal aborts', async () => {
    const proxy = await startTcpProxy(() => api.port);
    cleanups.push(() => proxy.close());
    proxy.block(/./);
    const stop = new AbortController();
    const asked = client('nasa/operator', proxy.url).api.viewer({}, { signal: stop.signal });
    stop.abort();
    await expect(asked).rejects.toThrow(/abort/i);
  });
});
