import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { resumeRun } from '../../src/domain/resume-run.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { sha256Of } from '../support/connectors.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { findS3Server, noS3Server, startS3Server } from '../support/s3-server.ts';
import { startWebServer } from '../support/web-server.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'usgs');

/** Somewhere that holds one file for a pipeline. */
interface Place {
  /** What stands in the pipeline's `source`. */
  path: string;
  connection: Record<string, unknown>;
  put(content: string): Promise<void>;
  close?(): Promise<void>;
}

async function https(): Promise<Place> {
  const server = await startWebServer();
  return {
    path: 'gauges.csv',
    connection: { kind: 'https', config: { baseUrl: server.url } },
    put: (content) => Promise.resolve(server.put('gauges.csv', Buffer.from(content))),
    close: () => server.close(),
  };
}

async function s3(): Promise<Place> {
  const { url: endpoint, bucket, credentials, close } = await startS3Server(String(findS3Server()));
  const region = 'us-east-1';
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  return {
    path: 'gauges.csv',
    connection: { kind: 's3', config: { bucket, region, prefix: 'landing/', endpoint }, secret: credentials },
    async put(content) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'landing/gauges.csv', Body: content }));
    },
    async close() {
      client.destroy();
      await close();
    },
  };
}

const upload = (): Promise<Place> =>
  Promise.resolve({
    path: 'upload://gauges.csv',
    connection: { kind: 'upload', config: {} },
    put: (content) => field.upload('gauges.csv', content),
  });

/** A pipeline over the place, with its dataset of the same name. */
async function define(name: string, { path, connection }: Place): Promise<void> {
  await field.connection({ name, ...connection });
  const integer = { type: 'integer' };
  const version = await field.contract(name, { id: integer, seq: integer, level: integer }, { required: ['seq'] });
  await field.pipeline(name, {
    source: { connection: name, path, format: { type: 'csv' }, incremental: { cursor: 'seq' } },
    contract: { name, version },
    destination: { type: 'postgres', dataset: name, mode: 'merge', key: ['id'] },
    batch: { records: 2 },
  });
}
async function ended(id: string) {
  const { status, events } = await readRun(database, id);
  return { status, data: events.at(-1)?.data, plan: events.find(({ name: event }) => event === 'PlanMade')?.data };
}
async function run(name: string, engine?: Parameters<typeof field.drain>[0]) {
  const { id } = await field.start(name);
  await field.drain(engine);
  return { id, ...(await ended(id)) };
}
const levels = async (dataset: string) =>
  (await field.rows(dataset, 'id level'))
    .map(({ id, level }) => [Number(id), Number(level)])
    .sort(([a = 0], [b = 0]) => a - b);
const csv = (...lines: string[]) => `id,seq,level\n${lines.join('\n')}\n`;
const counts = (read: number, written: number, passedOver: number) => ({
  status: 'COMPLETED',
  data: { read, written, rejected: 0, filtered: passedOver, passedOver, reconciled: true },
});
const pinned = (content: string, after: string | null, value: string) => ({
  sha256: sha256Of(Buffer.from(content)),
  increment: { cursor: 'seq', after, value },
});

describe.each([
  { kind: 'https', open: https, missing: null },
  { kind: 's3', open: s3, missing: findS3Server() === null ? noS3Server : null },
  { kind: 'upload', open: upload, missing: null },
])('a source over $kind of which only what is new is loaded', ({ kind: name, open, missing }) => {
  let place: Place;
  beforeAll(async () => {
    if (missing !== null) return;
    place = await open();
    await define(name, place);
  });
  afterAll(async () => {
    if (missing === null) await place.close?.();
  });

  it('loads each record once, tells a changed object, and keeps the mark of what was published', async ({ skip }) => {
    if (missing !== null) skip(missing);
    const first = csv('1,1,10', '2,2,20', '3,3,30');
    await place.put(first);
    expect(await run(name)).toMatchObject({ ...counts(3, 3, 0), plan: pinned(first, null, '3') });

    // What a run that fails has read is new to the next one still.
    const second = csv('1,1,10', '2,2,20', '3,3,30', '2,4,21', '4,5,40', '5,6,50');
    await place.put(second);
    const late = await run(name, breaksAt(field.engine, 3));
    expect(late).toMatchObject({ status: 'FAILED', plan: { ...pinned(second, '3', '6'), sourceChanged: true } });
    const third = csv('1,1,10', '3,3,30', '4,5,40', '5,6,50', '2,7,22');
    await place.put(third);
    expect(await run(name)).toMatchObject({
      ...counts(5, 3, 2),
      plan: { ...pinned(third, '3', '7'), sourceChanged: true },
    });
    const all = [
      [1, 10],
      [2, 22],
      [3, 30],
      [4, 40],
      [5, 50],
    ];
    expect(await levels(name)).toEqual(all);

    // It pinned the object as it was then, whose rows are older than those that are there.
    await resumeRun(field.ctx().api, field.ctx(), { runId: late.id, reason: 'mended', idempotencyKey: null });
    await field.drain();
    expect(await ended(late.id)).toMatchObject({ status: 'FAILED', data: { code: 'RUN_CONFLICT' } });
    expect(await levels(name)).toEqual(all);
    expect(await run(name)).toMatchObject({
      ...counts(5, 0, 5),
      plan: { ...pinned(third, '7', '7'), sourceChanged: false },
    });
  });
});

describe('a connection of another version', () => {
  it('may lead elsewhere, so that everything is new', async () => {
    const place = await upload();
    await define('moved', place);
    const content = csv('1,1,10', '2,2,20');
    await place.put(content);
    expect(await run('moved')).toMatchObject({ ...counts(2, 2, 0), plan: pinned(content, null, '2') });
    await field.connection({ name: 'moved', ...place.connection });
    expect(await run('moved')).toMatchObject({ ...counts(2, 2, 0), plan: pinned(content, null, '2') });
    expect(await levels('moved')).toEqual([
      [1, 10],
      [2, 20],
    ]);
  });
});
