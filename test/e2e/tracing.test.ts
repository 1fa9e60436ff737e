/** One trace from a request to the COPY of its records, over processes that share nothing but the database. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { type Alpha, startAlpha } from '../support/alpha.ts';
import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { eventually } from '../support/flux.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';

const canary = 'CANARY-9f3c';
const startRun = `mutation ${canary.replace('-', '_')}($input: StartRunInput!) {
  startRun(input: $input) { __typename ... on Run { id } ... on Error { message } }
}`;

let collector: OtlpReceiver;
let alpha: Alpha;
let api: string;
let token: string;

beforeAll(async () => {
  collector = await startOtlpReceiver();
  alpha = await startAlpha('tracing', {
    readings: ['2001', '2002', canary],
    args: ['--logs', 'files'],
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, LOG_LEVEL: 'debug' },
  });
  ({ api, token } = alpha);
  await alpha.register('connections', 'files', connectionDocument);
  await alpha.register('contracts', 'reading', contractDocument);
  const contract = { name: 'reading', version: 1, maxRejectedRatio: 0.5 };
  await alpha.register('pipelines', 'readings', pipelineDocument('readings', { contract }));
}, 240_000);

afterAll(async () => {
  await alpha.stop();
  await collector.close();
  await alpha.remove();
});

/** All of a trace, once the run's last span has come. */
const traceOf = (traceId: string): Promise<ReceivedSpan[]> =>
  eventually(
    () => collector.spans.filter((span) => span.traceId === traceId),
    (spans) => spans.some(({ name }) => name === 'partition.publish'),
    40_000,
  );

/** Names from a span up to its trace's beginning. */
function lineOf(spans: readonly ReceivedSpan[], from: ReceivedSpan | undefined): string[] {
  const line: string[] = [];
  for (let span = from; span;) {
    line.push(span.name);
    const { parentSpanId = '' } = span;
    if (parentSpanId === '') break;
    span = spans.find(({ spanId }) => spanId === parentSpanId);
    if (!span) line.push(`(${parentSpanId})`);
  }
  return line;
}
/** Of a global id. */
const uuidOf = (id: string): string => Buffer.from(id, 'base64url').toString().split(':')[1] ?? '';
const copyOf = (spans: readonly ReceivedSpan[]): ReceivedSpan | undefined =>
  spans.find(({ name }) => name === 'postgres COPY');

interface Edges<T> {
  edges: { node: T }[];
}
const nodesOf = <T>({ edges }: Edges<T>): T[] => edges.map(({ node }) => node);

async function asked(query: string, variables: object, headers: Record<string, string> = {}): Promise<unknown> {
  const response = await fetch(`${api}/v1/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers },
    body: JSON.stringify({ query, variables }),
  });
  return response.json();
}

describe('one trace', () => {
  test('from an HTTP request of a client that traces, through GraphQL and the queue, to the COPY', async () => {
    const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
    const answer = await asked(
      startRun,
      { input: { pipeline: 'readings', reason: canary } },
      {
        traceparent: `00-${traceId}-${spanId}-01`,
      },
    );
    expect(answer).toMatchObject({ data: { startRun: { __typename: 'Run' } } });
    const { id } = (answer as { data: { startRun: { id: string } } }).data.startRun;
    const runId = uuidOf(id);
    const spans = await traceOf(traceId);
    const line = lineOf(spans, copyOf(spans));
    expect(line.slice(0, 4)).toEqual(['postgres COPY', 'batch.commit', 'partition.batches', 'run.queue']);
    expect(line.slice(-3)).toEqual(['graphql mutation', 'POST /v1/graphql', `(${spanId})`]);
    expect(new Set(spans.map(({ service }) => service))).toEqual(new Set(['flux-api', 'flux-worker']));
    for (const name of ['partition.plan', 'partition.batches', 'partition.publish']) {
      const span = spans.find((it) => it.name === name);
      expect(span?.attributes, name).toMatchObject({
        'flux.run.id': runId,
        'flux.agency': 'alpha',
        'flux.stage': 'FULL',
      });
    }
    const statementsOf = (service: string): string[] =>
      spans.filter((span) => span.service === service).map(({ attributes }) => attributes['db.query.text'] ?? '');
    expect(statementsOf('flux-api')).toContainEqual(expect.stringContaining('from flux.queue_runs('));
    expect(statementsOf('flux-worker')).toContainEqual(expect.stringContaining('insert into flux.rejected_records'));

    const events = (await asked(
      'query ($id: ID!) { run(id: $id) { events(first: 50) { edges { node { traceId } } } } }',
      {
        id,
      },
    )) as { data: { run: { events: Edges<{ traceId: string }> } } };
    expect(new Set(nodesOf(events.data.run.events).map((node) => node.traceId))).toEqual(new Set([traceId]));
    const audit = (await asked('query { auditEntries(first: 200) { edges { node { action traceId } } } }', {})) as {
      data: { auditEntries: Edges<{ action: string; traceId: string | null }> };
    };
    const actions = nodesOf(audit.data.auditEntries)
      .filter((node) => node.traceId === traceId)
      .map(({ action }) => action);
    for (const action of ['run.start', 'partition.take', 'batch.commit']) expect(actions).toContain(action);
  });

  test('from a WebSocket', async () => {
    const client = createClient({
      url: `${api.replace('http', 'ws')}/v1/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
      lazy: true,
    });
    const answers = client.iterate({ query: startRun, variables: { input: { pipeline: 'readings' } } });
    const first = await answers.next();
    expect(first.value).toMatchObject({ data: { startRun: { __typename: 'Run' } } });
    await client.dispose();
    const { id } = (first.value as { data: { startRun: { id: string } } }).data.startRun;
    const started = await eventually(
      () =>
        collector.spans.find(
          ({ name, attributes }) => name === 'partition.publish' && attributes['flux.run.id'] === uuidOf(id),
        ),
      (span) => span !== undefined,
      40_000,
    );
    const spans = await traceOf(started?.traceId ?? '');
    expect(lineOf(spans, copyOf(spans)).slice(-3)).toEqual([
      'graphql mutation',
      'websocket operation',
      'WEBSOCKET /v1/graphql',
    ]);
  });

  test('from a command', async () => {
    await alpha.run(['runs', 'start', 'readings', '--watch'], {
      FLUX_TOKEN: token,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    });
    const command = await eventually(
      () => collector.spans.find(({ name }) => name === 'flux runs start'),
      (span) => span !== undefined,
    );
    const spans = await traceOf(command?.traceId ?? '');
    expect(lineOf(spans, copyOf(spans)).slice(-2)).toEqual(['POST /v1/graphql', 'flux runs start']);
  });
});

test('a stranger writes into nobody’s trace, and is told of all the same', async () => {
  const traceId = randomBytes(16).toString('hex');
  const response = await fetch(`${api}/v1/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer none',
      traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01`,
    },
    body: '{"query":"{ __typename }"}',
  });
  expect(response.status).toBe(401);
  const { errors } = (await response.json()) as { errors: { extensions: { traceId: string } }[] };
  expect(errors[0]?.extensions.traceId).toMatch(/^[0-9a-f]{32}$/);
  expect(errors[0]?.extensions.traceId).not.toBe(traceId);
  await eventually(
    () => collector.spans.some(({ attributes }) => attributes['http.response.status_code'] === '401'),
    Boolean,
    40_000,
  );
  expect(collector.spans.some((span) => span.traceId === traceId)).toBe(false);
  const logs = path.join(alpha.home, 'logs');
  const texts = await Promise.all((await readdir(logs)).map((name) => readFile(path.join(logs, name), 'utf8')));
  expect(texts.join('\n'), 'the log names the trace that the caller was told').toContain(
    `"trace_id":"${errors[0]?.extensions.traceId ?? ''}"`,
  );
});

test('spans hold no value of a request, of a record, or of a statement, and no token', () => {
  expect(collector.spans.length).toBeGreaterThan(50);
  for (const body of collector.bodies) {
    expect(body).not.toContain(canary);
    expect(body).not.toContain(canary.replace('-', '_'));
    expect(body).not.toContain(token);
    expect(body).not.toContain('pat@example.gov');
  }
});

test('a collector that is gone holds nothing up', async () => {
  const started = performance.now();
  await alpha.run(['runs', 'list'], { FLUX_TOKEN: token, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' });
  expect(performance.now() - started).toBeLessThan(30_000);
});
