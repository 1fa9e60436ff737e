import { describe, expect, it } from 'vitest';

import { ident, sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { replayRun } from '../../src/domain/replay-run.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { rerunRun } from '../../src/domain/rerun-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';
import { ebcdic } from '../unit/etl/mainframe/encode.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'irs');

const strict = { id: { type: 'integer' }, code: { type: 'string', maxLength: 4 } };
/** Takes the codes of five letters too, and still not the longest. */
const wider = { id: { type: 'integer' }, code: { type: 'string', maxLength: 5 } };
const count = 60;
/** Of 60 records: 5, 20 and 50 are a little too long, 30 is far too long, 41 has no number. */
const code = (id: number): string => (id === 30 ? 'much too long' : [5, 20, 50].includes(id) ? 'seven' : 'four');
const idOf = (id: number): string => (id === 41 ? 'none' : String(id));
const ids = Array.from({ length: count }, (_each, i) => i + 1);
const accepted = [5, 20, 50];

const csv = (): string => `id,code\n${ids.map((id) => `${idOf(id)},"${code(id)}"\n`).join('')}`;
const jsonRecord = (id: number): string => `{"id": ${id === 41 ? '"none"' : String(id)}, "code": "${code(id)}"}`;
const formats = {
  csv: { format: { type: 'csv', header: true }, content: csv },
  ndjson: { format: { type: 'ndjson' }, content: () => ids.map(jsonRecord).join('\n') },
  json: {
    format: { type: 'json', recordPath: '/rows' },
    content: () => `{"rows": [\n ${ids.map(jsonRecord).join(' ,\n ')} ]}`,
  },
  fixed: {
    format: {
      type: 'fixed',
      columns: [
        { name: 'id', start: 1, length: 4 },
        { name: 'code', start: 5, length: 14 },
      ],
    },
    content: () => ids.map((id) => `${idOf(id).padEnd(4)}${code(id).padEnd(14)}\n`).join(''),
  },
  mainframe: {
    format: { type: 'mainframe', copybook: '01 ROW. 05 id PIC X(4). 05 code PIC X(14).', codePage: 'cp037' },
    content: () => Buffer.concat(ids.map((id) => ebcdic(`${idOf(id).padEnd(4)}${code(id).padEnd(14)}`))),
  },
} as const;

async function pipelineOf(
  name: string,
  { format, content }: { format: object; content: () => string | Uint8Array },
  more: Record<string, unknown> = {},
): Promise<void> {
  await field.put(name, content());
  await field.contract(name, strict);
  await version(name, format, 1, more);
}
const version = (name: string, format: object, contractVersion: number, more: Record<string, unknown> = {}) =>
  field.pipeline(name, {
    source: { connection: 'files', path: name, format },
    contract: { name, version: contractVersion, maxRejectedRatio: 0.2 },
    batch: { records: 10 },
    ...more,
  });
/** Completes a first run of the pipeline, and registers the wider contract. */
async function rejectedRun(name: string, more: Record<string, unknown> = {}): Promise<string> {
  await pipelineOf(name, formats.csv, more);
  const { id } = await field.start(name);
  await field.drain();
  await field.contract(name, wider);
  await version(name, formats.csv.format, 2, more);
  return id;
}
const asked = { reason: 'the contract was too strict', idempotencyKey: null };
const reprocess = (runId: string, key: string | null = null) =>
  reprocessRejected(field.ctx().api, field.ctx(), { runId, ...asked, idempotencyKey: key });
const resume = (runId: string) => resumeRun(field.ctx().api, field.ctx(), { runId, ...asked });
const numbers = async (dataset: string): Promise<number[]> => {
  const { rows } = await database.agencyPool('irs', 'ro').query<{ n: number }>(sql`
    select _flux_record::int as n from ${ident('lake_irs', dataset)} order by 1
  `);
  return rows.map(({ n }) => n);
};
async function open(runId: string): Promise<{ n: number; landed: string | null; rules: string[]; version: number }[]> {
  const { rows } = await database.admin().query<{
    n: number;
    landed: string | null;
    rules: string[];
    version: number;
  }>(sql`
    select record_no::int as n, landed_by as landed, contract_version as version,
      array(select r ->> 'rule' from jsonb_array_elements(reasons) r) as rules
    from flux.rejected_records where run_id = ${runId} order by 1
  `);
  return rows;
}
const first = ids.filter((id) => ![...accepted, 30, 41].includes(id));

describe('reprocessing the rejected records of a run', () => {
  it.each(Object.keys(formats) as (keyof typeof formats)[])(
    '%s: lands what the newer contract takes, read at its place, and keeps the rest with the new reasons',
    async (name) => {
      await pipelineOf(name, formats[name]);
      const { id } = await field.start(name);
      await field.drain();
      expect(await numbers(name)).toEqual(first);
      expect((await open(id)).map(({ n }) => n)).toEqual([5, 20, 30, 41, 50]);
      await field.contract(name, wider);
      await version(name, formats[name].format, 2);

      // What people see of a record may be masked or cut; it is not what is read.
      await database.admin().query(sql`update flux.rejected_records set raw = 'masked' where run_id = ${id}`);
      const run = await reprocess(id);
      expect(run).toMatchObject({ reprocessOf: id, pipelineVersion: 2, stage: 'FULL' });
      await field.drain();
      const { status, events } = await readRun(database, run.id);
      expect(events.at(-1)).toMatchObject({ name: 'RunCompleted', data: { read: 5, written: 3, rejected: 2 } });
      expect(status).toBe('COMPLETED');
      expect(await numbers(name)).toEqual([...first, ...accepted].sort((a, b) => a - b));
      const rows = await field.rows(name, '_flux_record code');
      expect(rows.filter(({ code: text }) => text === 'seven').map(({ _flux_record }) => Number(_flux_record))).toEqual(
        accepted,
      );
      const rest = await open(id);
      expect(rest.filter(({ landed }) => landed === run.id).map(({ n }) => n)).toEqual(accepted);
      expect(rest.filter(({ landed }) => landed === null)).toMatchObject([
        { n: 30, version: 2 },
        { n: 41, version: 2 },
      ]);
      const replay = await replayRun(field.ctx().api, field.ctx(), {
        runId: run.id,
        reason: null,
        idempotencyKey: null,
      });
      expect(replay.differences).toEqual([]);
    },
  );

  it('lands nothing twice: asked for again, at once, and with the same key', async () => {
    const id = await rejectedRun('once');
    const settled = await Promise.allSettled([reprocess(id), reprocess(id), reprocess(id)]);
    const runs = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    expect(runs).toHaveLength(1);
    for (const each of settled) {
      if (each.status === 'rejected')
        expect(each.reason).toMatchObject({ code: 'RUN_CONFLICT', details: { runId: runs[0]?.id } });
    }
    await field.drain();
    const again = await reprocess(id, 'a key');
    expect((await reprocess(id, 'a key')).id).toBe(again.id);
    await field.drain();
    expect((await readRun(database, again.id)).events.at(-1)).toMatchObject({
      data: { read: 2, written: 0, rejected: 2 },
    });
    expect(await numbers('once')).toEqual([...first, ...accepted].sort((a, b) => a - b));
    await expect(
      database.admin().query(sql`
        update flux.rejected_records set landed_by = ${again.id} where run_id = ${id} and landed_by is not null
      `),
    ).rejects.toMatchObject({ code: 'FX002' });

    await field.contract('once', { id: {}, code: { type: 'string' } });
    await version('once', formats.csv.format, 3);
    await expect(reprocess(again.id)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: /Reprocess those of run/,
    });
    await expect(
      rerunRun(field.ctx().api, field.ctx(), { runId: again.id, pipeline: null, ...asked }),
    ).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  it('lands each record once when a run of it broke off and another took its records over', async () => {
    const id = await rejectedRun('partly');
    const broken = await reprocess(id);
    await field.drain(breaksAt(field.engine, 2));
    expect((await readRun(database, broken.id)).status).toBe('FAILED');
    expect((await open(id)).every(({ landed }) => landed === null)).toBe(true);
    const second = await reprocess(id);
    await field.drain();
    expect((await readRun(database, second.id)).status).toBe('COMPLETED');
    const whole = [...first, ...accepted].sort((a, b) => a - b);
    expect(await numbers('partly')).toEqual(whole);
    await resume(broken.id);
    await field.drain();
    expect((await readRun(database, broken.id)).events.at(-1)).toMatchObject({ data: { code: 'RUN_CONFLICT' } });
    expect(await numbers('partly')).toEqual(whole);
  });

  it('goes on after it broke off, when nobody took its records', async () => {
    const id = await rejectedRun('resumed');
    const run = await reprocess(id);
    await field.drain(breaksAt(field.engine, 3));
    await resume(run.id);
    await field.drain();
    expect((await readRun(database, run.id)).events.at(-1)).toMatchObject({
      data: { read: 5, written: 3, rejected: 2 },
    });
    expect(await numbers('resumed')).toEqual([...first, ...accepted].sort((a, b) => a - b));
    expect((await open(id)).filter(({ landed }) => landed === run.id)).toHaveLength(3);
  });

  it('leaves a newer load alone: what was replaced before is refused, and what is replaced meanwhile is not published', async () => {
    const id = await rejectedRun('replaced');
    const run = await reprocess(id);
    const other = await field.start('replaced', { priority: 10 });
    await database.admin().query(sql`
      update flux.run_partitions set available_at = clock_timestamp() + interval '1 hour' where run_id = ${run.id}
    `);
    await field.drain();
    expect((await readRun(database, other.id)).status).toBe('COMPLETED');
    const then = await numbers('replaced');
    await database.admin().query(sql`
      update flux.run_partitions set available_at = clock_timestamp() where run_id = ${run.id}
    `);
    await field.drain();
    expect((await readRun(database, run.id)).events.at(-1)).toMatchObject({ data: { code: 'DESTINATION_CONFLICT' } });
    expect(await numbers('replaced')).toEqual(then);
    expect((await open(id)).every(({ landed }) => landed === null)).toBe(true);
    await expect(reprocess(id)).rejects.toMatchObject({ code: 'INVALID_INPUT', message: /replaced by a later run/ });
  });

  it('is refused where it makes no sense, with the reason', async () => {
    const id = await rejectedRun('refused');
    await version('refused', { type: 'csv', header: true, delimiter: ';' }, 2);
    await expect(reprocess(id)).rejects.toMatchObject({ code: 'INVALID_INPUT', message: /source.format/ });
    await version('refused', formats.csv.format, 2);
    const waiting = await field.start('refused');
    await expect(reprocess(waiting.id)).rejects.toMatchObject({ code: 'INVALID_INPUT', message: /PENDING/ });
    await cancelRun(field.ctx().api, field.ctx(), { runId: waiting.id, graceSeconds: null, ...asked });
    await expect(
      reprocessRejected(field.ctx().api, field.ctx(), { runId: id, reason: ' ', idempotencyKey: null }),
    ).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(reprocess('01980000-0000-7000-8000-000000000000')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await field.put('refused', 'id,code\n1,four\n');
    const clean = await field.start('refused');
    await field.drain();
    await expect(reprocess(clean.id)).rejects.toMatchObject({ code: 'INVALID_INPUT', message: /nothing to reprocess/ });
  });
});
