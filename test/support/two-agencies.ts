import { randomBytes } from 'node:crypto';

import { graphql } from 'graphql';

import { schema } from '../../schema/schema.ts';
import type { ApiDeps } from '../../resolvers/context.ts';
import { encodeCursor, encodeEventCursor } from '../../src/events/cursor.ts';
import { attachLoad, createDatasetTable, createLoadTable, type LoadTable } from '../../src/db/lake.ts';
import { lakeSchema } from '../../src/db/roles.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { append, completes, contextOf, connectionDocument, contractDocument, pipelineDocument, starts } from './api.ts';
import { scratchAnchor, sealAll } from './audit.ts';
import type { TestDatabase } from './database.ts';
import type { Naming, Whose } from './generated-operations.ts';
import { ensureWebhookKeys, webhookDeps } from './webhook-policy.ts';

/** What one agency has, and nobody else may see or learn of. */
export interface Filled {
  slug: string;
  /** Stands in every text that the agency has, and in nothing that a test sends as another. */
  canary: string;
  runs: string[];
  checkpoints: string[];
  subscriptions: string[];
  bulkOperations: string[];
  schedules: string[];
  backfills: string[];
  webhooks: string[];
  deliveries: string[];
}

/** Fills an agency with a row of everything that the API can show, every text of it marked. */
export async function fillAgency(database: TestDatabase, slug: string, deps: ApiDeps): Promise<Filled> {
  const api = { ...deps, ...webhookDeps };
  const canary = `canary${randomBytes(6).toString('hex')}`;
  await database.addAgency(slug, { name: `Agency ${canary}` });
  await ensureWebhookKeys(database);
  const context = contextOf(database, slug, { role: 'admin', clearance: 5, subject: `${canary}@example.gov`, api });
  const ask = async (source: string, variables: Record<string, unknown>): Promise<Record<string, unknown>> => {
    const { data, errors } = await graphql({ schema, source, variableValues: variables, contextValue: context });
    const result = Object.values(data ?? {})[0] as Record<string, unknown> | undefined;
    if (errors || !result || String(result['__typename']).endsWith('Error')) {
      throw new Error(`could not fill ${slug}: ${JSON.stringify({ errors, result })}`);
    }
    return result;
  };
  const reason = `because ${canary}`;
  await ask(
    `mutation($d: JSON!) { registerConnection(input: { definition: $d }) { __typename ... on Error { message } } }`,
    {
      d: { ...connectionDocument, name: `${slug}-files`, title: canary, config: { roots: [`${canary}`] } },
    },
  );
  await ask(
    `mutation($d: JSON!) { registerContract(input: { name: "${slug}-reading", document: $d }) { __typename ... on Error { message } } }`,
    { d: { ...contractDocument, title: canary, description: canary } },
  );
  for (const [name, classification] of [
    [`${slug}-open`, 'U'],
    [`${slug}-secret`, 'S'],
  ] as const) {
    await ask(
      `mutation($d: JSON!) { registerPipeline(input: { definition: $d }) { __typename ... on Error { message } } }`,
      {
        d: {
          ...pipelineDocument(name, { title: canary, classification }),
          source: { connection: `${slug}-files`, path: `${canary}.csv`, format: { type: 'csv' } },
          contract: { name: `${slug}-reading`, version: 1 },
          destination: { type: 'postgres', dataset: `d_${canary}`, mode: 'append' },
        },
      },
    );
  }
  await ask(
    `mutation($input: RegisterWebhookInput!) { registerWebhook(input: $input) { __typename ... on Error { message } } }`,
    {
      input: { url: `http://127.0.0.1:9/${canary}`, description: canary, reason },
    },
  );
  const runs: string[] = [];
  for (const pipeline of [`${slug}-open`, `${slug}-open`, `${slug}-secret`]) {
    const run = await ask(
      `mutation($input: StartRunInput!) { startRun(input: $input) { __typename ... on Run { runId } } }`,
      { input: { pipeline, reason, metadata: { note: canary } } },
    );
    runs.push(run['runId'] as string);
  }
  for (const runId of runs) await fillRun(database, { slug, canary, runId });
  await append(
    database,
    slug,
    runs[0] as string,
    [{ name: 'RunCompleted', message: canary, data: { canary } }],
    completes,
  );
  await fillDated(database, ask, { slug, canary, reason });
  const checkpoints = await idsOf(database, slug, 'checkpoints', 'checkpoint_id');
  await ask(
    `mutation($input: RevokeSubscriptionsInput!) { revokeSubscriptions(input: $input) { __typename ... on Error { message } } }`,
    {
      input: { subject: `gone-${canary}@example.gov`, reason },
    },
  );
  const subscriptions = await idsOf(database, slug, 'live_subscriptions', 'subscription_id');
  await ask(
    `mutation($input: ResumeRunsInput!) { resumeRuns(input: $input) { __typename ... on Error { message } } }`,
    {
      input: { filter: { pipeline: `none-${slug}` }, reason },
    },
  );
  await database.admin().query(sql`
    with operation as (
      update flux.bulk_operations set total = 1 where agency_id = ${slug} returning operation_id
    )
    insert into flux.bulk_items (agency_id, operation_id, position, run_id, status, error_code, error_message)
    select ${slug}, operation_id, 1, ${runs[0] as string}, 'FAILED', 'INTERNAL', ${canary} from operation
  `);
  const bulkOperations = await idsOf(database, slug, 'bulk_operations', 'operation_id');
  const anchor = await scratchAnchor();
  await sealAll(database, anchor);
  await anchor.remove();
  return {
    slug,
    canary,
    runs,
    checkpoints,
    subscriptions,
    bulkOperations,
    schedules: await idsOf(database, slug, 'schedules', 'schedule_id'),
    backfills: await idsOf(database, slug, 'backfills', 'backfill_id'),
    webhooks: await idsOf(database, slug, 'webhooks', 'webhook_id'),
    deliveries: await idsOf(database, slug, 'webhook_deliveries', 'delivery_id'),
  };
}

/** What starts runs by its date, and what tells of their ends: each with a word of its own about how it went. */
async function fillDated(
  database: TestDatabase,
  ask: (source: string, variables: Record<string, unknown>) => Promise<Record<string, unknown>>,
  { slug, canary, reason }: { slug: string; canary: string; reason: string },
): Promise<void> {
  const dated = { source: `${canary}/{date}.csv`, metadata: { note: canary }, reason };
  for (const pipeline of [`${slug}-open`, `${slug}-secret`]) {
    await ask(
      `mutation($input: CreateScheduleInput!) { createSchedule(input: $input) { __typename ... on Error { message } } }`,
      {
        input: { ...dated, name: pipeline, pipeline, cron: '0 3 * * *' },
      },
    );
    await ask(
      `mutation($input: StartBackfillInput!) { startBackfill(input: $input) { __typename ... on Error { message } } }`,
      {
        input: { ...dated, pipeline, firstDate: '2020-01-01', lastDate: '2020-01-03' },
      },
    );
  }
  const admin = database.admin();
  for (const statement of [
    sql`insert into flux.schedule_ticks (agency_id, schedule_id, tick_at, status, reason, message)
      select agency_id, schedule_id, '2020-01-01T03:00:00Z', 'FAILED', 'PIPELINE_NOT_FOUND', ${canary}
      from flux.schedules where agency_id = ${slug}`,
    sql`update flux.backfill_dates set status = 'FAILED', message = ${canary}
      where agency_id = ${slug} and date = '2020-01-01'`,
    sql`update flux.webhook_deliveries
      set status = 'DEAD', finished_at = clock_timestamp(), attempts = 12, last_error = ${canary} where agency_id = ${slug}`,
  ]) {
    const { rowCount } = await admin.query(statement);
    if (rowCount === 0) throw new Error(`could not fill ${slug}: nothing to mark`);
  }
}

async function fillRun(
  database: TestDatabase,
  { slug, canary, runId }: { slug: string; canary: string; runId: string },
): Promise<void> {
  const admin = database.admin();
  await append(database, slug, runId, [{ name: 'RunStarted', message: canary, data: { canary } }], starts);
  const dataset = `d_${canary}`;
  const loadNo = (await admin.query(sql`select from flux.loads where agency_id = ${slug}`)).rowCount + 1;
  for (const statement of [
    sql`insert into flux.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash)
      values (${slug}, ${runId}, 0, 1, 1, 'IN_PROGRESS', ${canary}, ${Buffer.from(canary)}, ${Buffer.alloc(32)})`,
    sql`insert into flux.rejected_records (agency_id, run_id, record_no, partition_no, reasons, raw)
      values (${slug}, ${runId}, 1, 0, ${JSON.stringify([{ path: '/x', rule: 'type', message: canary }])}, ${canary})`,
    sql`insert into flux.step_counts (agency_id, run_id, partition_no, position, stage, step, kind, records_in)
      values (${slug}, ${runId}, 0, 0, 'INGEST', ${canary}, 'read', 4242)`,
    sql`insert into flux.source_objects
        (agency_id, run_id, sha256, byte_count, address, connection_name, origin, media_type)
      values (${slug}, ${runId}, ${Buffer.alloc(32)}, 1, ${canary}, ${`${slug}-files`}, ${canary}, 'text/csv')`,
    sql`insert into flux.datasets (agency_id, name, columns)
      values (${slug}, ${dataset}, ${JSON.stringify([{ name: canary, type: 'text' }])}) on conflict do nothing`,
    sql`insert into flux.loads (agency_id, dataset, load_no, run_id, mode, columns, status, record_count, published_at)
      values (${slug}, ${dataset}, ${loadNo}, ${runId}, 'append', '[]', 'PUBLISHED', 1, clock_timestamp())`,
    sql`insert into flux.live_subscriptions (agency_id, subscription_id, server_id, subject, issuer, role, token_id,
        token_expires_at, transport, field, ip, user_agent, request_id, opened_at, seen_at)
      values (${slug}, flux.uuid_v7(), flux.uuid_v7(), ${canary}, ${canary}, 'viewer', ${canary}, clock_timestamp(), 'sse',
        'runEvents', '192.0.2.1', ${canary}, ${canary}, clock_timestamp(), clock_timestamp() + interval '1 day')`,
  ]) {
    await admin.query(statement);
  }
  await fillLake(database, { slug, canary, load: { schema: lakeSchema(slug), dataset, loadNo: BigInt(loadNo) } });
}

/** A record of the load, as a worker would have left it. */
async function fillLake(
  database: TestDatabase,
  { slug, canary, load }: { slug: string; canary: string; load: LoadTable },
): Promise<void> {
  const lake = database.agencyPool(slug);
  await createDatasetTable(lake, load, [{ name: canary, type: 'text' }]);
  await createLoadTable(lake, load);
  await attachLoad(lake, load);
  await lake.query(sql`
    insert into ${ident(load.schema, load.dataset)} values (${load.loadNo}, 1, ${`record of ${canary}`})
  `);
}

async function idsOf(database: TestDatabase, slug: string, table: string, column: string): Promise<string[]> {
  const { rows } = await database
    .admin()
    .query<{ id: string }>(
      sql`select ${ident(column)}::text as id from ${ident('flux', table)} where agency_id = ${slug} order by 1`,
    );
  return rows.map(({ id }) => id);
}

const globalId = (type: string, id: string): string => Buffer.from(`${type}:${id}`).toString('base64url');

/** Same form, and nobody's. */
function unknownUuid(): string {
  return `00000000-0000-7000-8000-${randomBytes(6).toString('hex')}`;
}

/**
 * What the arguments that name things are given: the caller's own, the other agency's, and what nobody has. `nobody` is a slug of the
 * same length as the other agency's.
 */
export function namingFor(
  own: Filled,
  foreign: Filled,
  { cursorKey, nobody }: { cursorKey: Buffer; nobody: string },
): Naming {
  return (place, random) => {
    const name = place.split('.').at(-1) ?? '';
    const uuids = (list: (filled: Filled) => readonly string[]): Record<Whose, string> => ({
      own: random.pick(list(own)),
      foreign: random.pick(list(foreign)),
      unknown: unknownUuid(),
    });
    const runs = uuids(({ runs: ids }) => ids);
    const asGlobal = (type: string, ids: Record<Whose, string>): Record<Whose, string> => ({
      own: globalId(type, ids.own),
      foreign: globalId(type, ids.foreign),
      unknown: globalId(type, ids.unknown),
    });
    const eitherWay = (type: string, ids: Record<Whose, string>) => (random.chance(0.5) ? ids : asGlobal(type, ids));
    const named = (suffix: string): Record<Whose, string> => ({
      own: `${own.slug}-${suffix}`,
      foreign: `${foreign.slug}-${suffix}`,
      unknown: `${nobody}-${suffix}`,
    });
    const datasets = {
      own: `d_${own.canary}`,
      foreign: `d_${foreign.canary}`,
      unknown: `d_canary${randomBytes(6).toString('hex')}`,
    };
    const anyNode = (): Record<Whose, string> =>
      random.pick([
        asGlobal('Run', runs),
        asGlobal(
          'Checkpoint',
          uuids(({ checkpoints }) => checkpoints),
        ),
        asGlobal(
          'LiveSubscription',
          uuids(({ subscriptions }) => subscriptions),
        ),
        asGlobal(
          'Schedule',
          uuids(({ schedules }) => schedules),
        ),
        asGlobal(
          'Backfill',
          uuids(({ backfills }) => backfills),
        ),
        asGlobal(
          'Webhook',
          uuids(({ webhooks }) => webhooks),
        ),
        asGlobal('Agency', { own: own.slug, foreign: foreign.slug, unknown: nobody }),
        asGlobal('SourceConnection', named('files')),
        asGlobal('Dataset', datasets),
        asGlobal(
          'Contract',
          mapped(named('reading'), (text) => `${text}@1`),
        ),
        asGlobal(
          'Pipeline',
          mapped(named(random.pick(['open', 'secret'])), (text) => `${text}@1`),
        ),
      ]);
    if (/^Query[.](node)[.]id$/.test(place)) return anyNode();
    if (place === 'Query.nodes.ids') return mapped(anyNode(), (id) => [id]);
    if (name === 'checkpointId')
      return eitherWay(
        'Checkpoint',
        uuids(({ checkpoints }) => checkpoints),
      );
    if (name === 'subscriptionIds') {
      return mapped(
        eitherWay(
          'LiveSubscription',
          uuids(({ subscriptions }) => subscriptions),
        ),
        (id) => [id],
      );
    }
    if (place === 'Query.bulkOperation.id' || place === 'AbortBulkOperationInput.id') {
      return eitherWay(
        'BulkOperation',
        uuids(({ bulkOperations }) => bulkOperations),
      );
    }
    if (place === 'Query.backfill.id' || place === 'ControlBackfillInput.id') {
      return eitherWay(
        'Backfill',
        uuids(({ backfills }) => backfills),
      );
    }
    if (name === 'webhookId') {
      return eitherWay(
        'Webhook',
        uuids(({ webhooks }) => webhooks),
      );
    }
    if (name === 'deliveryId') {
      return eitherWay(
        'WebhookDelivery',
        uuids(({ deliveries }) => deliveries),
      );
    }
    if (place === 'Query.schedule.name' || place === 'ControlScheduleInput.name') {
      return named(random.pick(['open', 'secret']));
    }
    if (name === 'runId' || place === 'Query.run.id') return eitherWay('Run', runs);
    if (name === 'runIds') return mapped(eitherWay('Run', runs), (id) => [id]);
    if (name === 'slug') return { own: own.slug, foreign: foreign.slug, unknown: nobody };
    if (name === 'pipeline' && !place.startsWith('RerunRunInput')) return named(random.pick(['open', 'secret']));
    if (place === 'Query.pipeline.name') return named('open');
    if (place === 'Query.connection.name') return named('files');
    if (place === 'Query.dataset.name') return datasets;
    if (place === 'Query.contract.name') return named('reading');
    if (name === 'resourceId') return runs;
    if (name === 'payload') {
      return mapped({ own: own.slug, foreign: foreign.slug, unknown: nobody }, (agency) => ({
        agency,
        content_type: 'text',
        use_case: 'research',
        stage: 'full',
        source: 'x',
      }));
    }
    if (name === 'definition' && place.startsWith('RegisterPipeline')) {
      return mapped(named('files'), (connection) => ({
        ...pipelineDocument('made-by-fuzz'),
        source: { connection, path: 'x.csv', format: { type: 'csv' } },
        contract: { name: connection.replace(/files$/, 'reading'), version: 1 },
      }));
    }
    if (name === 'after') {
      const kind = place.split('.')[1] ?? '';
      if (kind === 'runEventLog' || kind === 'runEvents') {
        const at = (agency: string, runId: string) => encodeEventCursor(cursorKey, { agency, runId, seq: 1n });
        return {
          own: at(own.slug, runs.own),
          foreign: at(foreign.slug, runs.foreign),
          unknown: at(nobody, runs.unknown),
        };
      }
      const lists: Record<string, string> = {
        auditEntries: 'audit',
        auditEntryAdded: 'audit',
        runChanges: 'run-changes',
        runsChanged: 'run-changes',
        runs: 'runs:desc',
      };
      const list = lists[kind];
      const at = (agency: string) => encodeCursor(cursorKey, { kind: list ?? kind, agency }, ['1']);
      return { own: at(own.slug), foreign: at(foreign.slug), unknown: at(nobody) };
    }
    return null;
  };
}

function mapped<A, B>(all: Record<Whose, A>, map: (one: A) => B): Record<Whose, B> {
  return { own: map(all.own), foreign: map(all.foreign), unknown: map(all.unknown) };
}
