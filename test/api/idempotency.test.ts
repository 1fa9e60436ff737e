/** One key, asked concurrently over every transport: every mutation of the schema is done once, and another input is a conflict. */
import { readFileSync } from 'node:fs';

import { buildSchema } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { apiDeps, connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { createTestIssuer } from '../support/tokens.ts';
import { type Filled, fillAgency } from '../support/two-agencies.ts';
import { askRest, restRequest, routeOf } from './rest-wire.ts';
import type { Answer } from './serve.ts';
import { connectWire, runOverWire } from './wire.ts';

const printed = buildSchema(readFileSync(new URL('../../schema/schema.graphql', import.meta.url), 'utf8'));
const database = useDatabase();
let own: Filled;
let server: ApiServer;
let token: string;
/** Cancelled before anything of it began, and a bulk operation that nobody works off. */
let cancelled: string;
let bulk: string;

beforeAll(async () => {
  own = await fillAgency(database, 'keys', apiDeps(database));
  const issuer = await createTestIssuer('https://login.example.gov');
  server = await startApiServer(database, { issuers: [{ issuer, agencies: [own.slug] }] });
  token = await issuer.sign({ agency: own.slug, role: 'admin', sub: 'ada@example.gov', clearance: 'SCI' });
  // As a worker would have left it: rejected records are reprocessed beside a load that is seen.
  await database.admin().query(sql`
    update flux.loads set status = 'PUBLISHED', record_count = 1, published_at = clock_timestamp()
    where agency_id = ${own.slug} and run_id = ${own.runs[0] as string}
  `);
  const done = async (field: string, input: Said): Promise<Said> => {
    const { status, body, text } = await askRest(server.url, token, restRequest(field, { input }));
    if (status !== 200) throw new Error(`${field}: ${text}`);
    return body;
  };
  cancelled = String((await done('startRun', { pipeline: `${own.slug}-open` }))['runId']);
  await done('cancelRun', { runId: cancelled, reason });
  bulk = String((await done('cancelRuns', { filter: { pipeline: `${own.slug}-secret` }, reason }))['id']);
}, 120_000);
afterAll(() => server?.stop());

const reason = 'asked several times';
const nobodys = '00000000-0000-7000-8000-000000000000';
const at = (ids: readonly string[], index = 0): string => ids[index] as string;

type Said = Record<string, unknown>;

interface Recipe {
  input: Record<string, unknown>;
  /** What makes it another request; null where a mutation has nothing to ask but to be done. */
  other: Record<string, unknown> | null;
  /** The code with which it is refused here, alike for everybody; absent: it is done. */
  refused?: string;
}

/** In an order in which each can be done. */
const recipes: [string, () => Recipe][] = [
  [
    'registerConnection',
    () => ({
      input: { definition: { ...connectionDocument, name: 'more' } },
      other: { definition: { ...connectionDocument, name: 'most' } },
    }),
  ],
  [
    'registerContract',
    () => ({
      input: { name: 'more', document: contractDocument },
      other: { name: 'most', document: contractDocument },
    }),
  ],
  [
    'registerPipeline',
    () => {
      const definition = (name: string) => ({
        definition: {
          ...pipelineDocument(name),
          source: { connection: `${own.slug}-files`, path: 'x.csv', format: { type: 'csv' } },
          contract: { name: `${own.slug}-reading`, version: 1 },
        },
      });
      return { input: definition('more'), other: definition('most') };
    },
  ],
  ['startRun', () => ({ input: { pipeline: `${own.slug}-open` }, other: { pipeline: `${own.slug}-secret` } })],
  ['replayRun', () => ({ input: { runId: at(own.runs) }, other: { runId: at(own.runs, 1) } })],
  ['rerunRun', () => ({ input: { runId: at(own.runs) }, other: { runId: at(own.runs, 1) } })],
  ['reprocessRejected', () => ({ input: { runId: at(own.runs), reason }, other: { runId: nobodys, reason } })],
  ['cancelRun', () => ({ input: { runId: at(own.runs, 1), reason }, other: { runId: at(own.runs, 2), reason } })],
  ['resumeRun', () => ({ input: { runId: cancelled, reason }, other: { runId: at(own.runs, 2), reason } })],
  [
    'forkRun',
    () => ({
      input: { checkpointId: at(own.checkpoints), reason },
      other: { checkpointId: at(own.checkpoints, 1), reason },
      // The fixture's checkpoints are marked, and so are none that verify.
      refused: 'CHECKPOINT_CORRUPTED',
    }),
  ],
  [
    'cancelRuns',
    () => ({ input: { filter: { pipeline: 'a' }, reason }, other: { filter: { pipeline: 'b' }, reason } }),
  ],
  [
    'resumeRuns',
    () => ({ input: { filter: { pipeline: 'a' }, reason }, other: { filter: { pipeline: 'b' }, reason } }),
  ],
  ['abortBulkOperation', () => ({ input: { id: bulk, reason }, other: { id: nobodys, reason } })],
  [
    'createSchedule',
    () => {
      const input = { name: 'hourly', pipeline: `${own.slug}-open`, cron: '0 * * * *' };
      return { input, other: { ...input, cron: '1 * * * *' } };
    },
  ],
  ['pauseSchedule', () => ({ input: { name: 'hourly', reason }, other: { name: `${own.slug}-open`, reason } })],
  ['resumeSchedule', () => ({ input: { name: 'hourly' }, other: { name: `${own.slug}-open` } })],
  ['removeSchedule', () => ({ input: { name: 'hourly', reason }, other: { name: `${own.slug}-open`, reason } })],
  [
    'startBackfill',
    () => {
      const input = {
        pipeline: `${own.slug}-open`,
        source: '{date}.csv',
        firstDate: '2021-01-01',
        lastDate: '2021-01-02',
      };
      return { input, other: { ...input, lastDate: '2021-01-03' } };
    },
  ],
  ['cancelBackfill', () => ({ input: { id: at(own.backfills), reason }, other: { id: at(own.backfills, 1), reason } })],
  ['resumeBackfill', () => ({ input: { id: at(own.backfills), reason }, other: { id: at(own.backfills, 1), reason } })],
  ['registerWebhook', () => ({ input: { url: 'http://127.0.0.1:9/a' }, other: { url: 'http://127.0.0.1:9/b' } })],
  [
    'setWebhookEnabled',
    () => ({
      input: { webhookId: at(own.webhooks), enabled: false },
      other: { webhookId: at(own.webhooks), enabled: true },
    }),
  ],
  ['rotateWebhookSecret', () => ({ input: { webhookId: at(own.webhooks) }, other: { webhookId: nobodys } })],
  ['replayWebhookDelivery', () => ({ input: { deliveryId: at(own.deliveries) }, other: { deliveryId: nobodys } })],
  ['deleteWebhook', () => ({ input: { webhookId: at(own.webhooks) }, other: { webhookId: nobodys } })],
  ['setLegalHold', () => ({ input: { reason }, other: null })],
  ['liftLegalHold', () => ({ input: { reason }, other: null })],
  ['updateAgency', () => ({ input: { abbreviation: 'KEY' }, other: { abbreviation: 'YEK' } })],
  [
    'revokeSubscriptions',
    () => ({ input: { subject: 'gone@example.gov', reason }, other: { subject: 'other@example.gov', reason } }),
  ],
];

/** One answer over each transport, as the mutation's result: errors as they are told there, by their code. */
const transports: [string, (field: string, input: Said) => Promise<Said>][] = [
  [
    'http',
    async (field, input) => {
      const response = await fetch(`${server.url}${graphqlPath}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ query: routeOf(field).document(() => true), variables: { input } }),
      });
      return resultOf(field, (await response.json()) as Answer);
    },
  ],
  [
    'websocket',
    async (field, input) => {
      const wire = await connectWire(server.url, token);
      const payload = { query: routeOf(field).document(() => true), variables: { input } };
      const [message] = await runOverWire(wire, '1', payload);
      await wire.close();
      return resultOf(field, message?.payload as unknown as Answer);
    },
  ],
  [
    'rest',
    async (field, input) => {
      const { status, body } = await askRest(server.url, token, restRequest(field, { input }));
      return status === 200 ? body : { code: body['code'] };
    },
  ],
];

function resultOf(field: string, { data, errors }: Answer): Said {
  if (errors) return { code: errors[0]?.extensions['code'] };
  const result = data?.[field] as Said;
  return 'errorId' in result ? { code: result['code'] } : result;
}

it('every mutation of the schema is asked', () => {
  const mutations = Object.keys(printed.getMutationType()?.getFields() ?? {});
  expect(recipes.map(([name]) => name).sort()).toEqual(mutations.sort());
});

describe('with one key, at once over every transport,', () => {
  it.each(recipes)('%s is done once, and is a conflict with another input', async (field, recipe) => {
    const { input, other, refused } = recipe();
    const keyed = { ...input, idempotencyKey: `${field}-1` };
    const before = await successes();
    const answers = await Promise.all([...transports, ...transports].map(([, ask]) => ask(field, keyed)));
    if (refused !== undefined) {
      expect(answers).toEqual(answers.map(() => ({ code: refused })));
      return;
    }
    const [first] = answers;
    expect(first).toBeDefined();
    expect(first).not.toHaveProperty('code');
    // Whoever came second sees the first's result: the same thing, down to its secret where it has one.
    for (const answer of answers) expect(answer).toEqual(first);
    expect((await successes()) - before).toBe(1);
    if (other === null) return;
    const conflicts = transports.map(([, ask]) => ask(field, { ...other, idempotencyKey: `${field}-1` }));
    expect(await Promise.all(conflicts)).toEqual(transports.map(() => ({ code: 'IDEMPOTENCY_CONFLICT' })));
    expect((await successes()) - before).toBe(1);
  });

  it('two inputs race for one key, and exactly one wins', async () => {
    const asked = [`${own.slug}-open`, `${own.slug}-secret`].flatMap((pipeline) =>
      transports.map(async ([, ask]) => {
        const answer = await ask('startRun', { pipeline, idempotencyKey: 'race' });
        return { pipeline, answer };
      }),
    );
    const answers = await Promise.all(asked);
    const won = answers.filter(({ answer }) => !('code' in answer));
    expect(new Set(won.map(({ pipeline }) => pipeline)).size).toBe(1);
    expect(new Set(won.map(({ answer }) => answer['id'])).size).toBe(1);
    expect(won).toHaveLength(transports.length);
    for (const { answer } of answers) if ('code' in answer) expect(answer).toEqual({ code: 'IDEMPOTENCY_CONFLICT' });
  });
});

/** Changes that were made, by the audit log. */
async function successes(): Promise<number> {
  const entries = await auditBodies(database, own.slug);
  return entries.filter(({ success, actor }) => success === true && actor === 'ada@example.gov').length;
}
