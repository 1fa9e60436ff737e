import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { dryRunPlanOf, reconciliationOf } from '../../resolvers/run.ts';
import { snapshotDataset } from '../../src/db/lake-reference.ts';
import { findJoinable, listReferences } from '../../src/db/run-references.ts';
import { sql } from '../../src/db/sql.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { reprocessRejected } from '../../src/domain/reprocess-rejected.ts';
import { rerunRun } from '../../src/domain/rerun-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { intoNewFile } from '../../src/etl/into-new-file.ts';
import { breaksAt } from '../support/broken-engine.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'doi');
const other = useField(database, bench, 'epa');

type Place = typeof field;
const reasons = { reason: 'as planned', idempotencyKey: null };
const csv = (...lines: string[]): string => `${lines.join('\n')}\n`;
const text = { type: ['string', 'null'] };

/** Registers a pipeline over a file of its own name; `load` puts the file there and runs it. */
async function define(at: Place, name: string, properties: Record<string, unknown>, more: object = {}): Promise<void> {
  const version = await at.contract(name, properties);
  await at.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version, maxRejectedRatio: 0.9 },
    ...more,
  });
}
async function load(at: Place, name: string, content: string): Promise<string> {
  await at.put(`${name}.csv`, content);
  const { id } = await at.start(name);
  await at.drain();
  await completed(id);
  return id;
}
async function completed(runId: string): Promise<void> {
  const { status, events } = await readRun(database, runId);
  expect(events.at(-1)?.data).not.toHaveProperty('code');
  expect(status).toBe('COMPLETED');
}
/** As the driver gives a date. */
const day = (date: string): Date => new Date(`${date}T00:00:00`);
const failureOf = async (runId: string): Promise<unknown> => {
  const { status, events } = await readRun(database, runId);
  expect(status).toBe('FAILED');
  return events.at(-1)?.data;
};
const sites = {
  code: { type: 'string' },
  name: { type: 'string' },
  acres: { type: ['number', 'null'] },
  opened: { type: ['string', 'null'], format: 'date' },
};
const siteLines = [
  'code,name,acres,opened',
  'ZN,Zion,146597.25,1919-11-19',
  'YS,Yosemite,759620,1890-10-01',
  'XX,,,',
  ',Nowhere,1,2000-01-01',
];
const visits = { id: { type: 'integer' }, site: text, people: { type: 'integer' } };
const visitLines = ['id,site,people', '1,ZN,10', '2,YS,20', '3,QQ,30', '4,,40', '5,ZN,50', '6,XX,60'];
const visitJoin = {
  type: 'join',
  dataset: 'sites',
  on: { site: 'code' },
  columns: ['name', 'acres', 'opened'],
  as: { name: 'site_name' },
};

describe('a join with a dataset', () => {
  it('adds its columns to each record, under the names that were chosen, and null where nothing fits', async () => {
    // An empty text is another thing than none, which a CSV file cannot say.
    await define(field, 'sites', sites, {
      transforms: [{ type: 'derive', column: 'name', sql: "coalesce(name, '')" }],
    });
    await load(field, 'sites', csv(...siteLines));
    await define(field, 'visits', visits, { transforms: [visitJoin], batch: { records: 2 } });
    const id = await load(field, 'visits', csv(...visitLines));
    expect(await field.rows('visits', 'id site site_name acres opened')).toEqual([
      { id: 1n, site: 'ZN', site_name: 'Zion', acres: 146597.25, opened: day('1919-11-19') },
      { id: 2n, site: 'YS', site_name: 'Yosemite', acres: 759620, opened: day('1890-10-01') },
      { id: 3n, site: 'QQ', site_name: null, acres: null, opened: null },
      { id: 4n, site: null, site_name: null, acres: null, opened: null },
      { id: 5n, site: 'ZN', site_name: 'Zion', acres: 146597.25, opened: day('1919-11-19') },
      { id: 6n, site: 'XX', site_name: '', acres: null, opened: null },
    ]);
    const { events } = await readRun(database, id);
    const plan = events.find(({ name }) => name === 'PlanMade')?.data;
    expect(plan?.['references']).toMatchObject([{ dataset: 'sites', loads: 1, load: 1, records: 4 }]);
    expect(plan?.['steps']).toContainEqual({ stage: 'TRANSFORM', step: 'join sites', kind: 'join' });
  });

  it('leaves out what nothing fits where it is told to, and every step adds up', async () => {
    await define(field, 'matched', visits, {
      transforms: [
        { type: 'filter', rule: 'not the first', sql: 'id > 1' },
        { ...visitJoin, unmatched: 'drop' },
        { type: 'derive', column: 'density', sql: 'people / acres' },
        { type: 'filter', rule: 'with a size', sql: 'acres is not null' },
      ],
    });
    await field.put('matched.csv', csv(...visitLines, 'seven,ZN,1'));
    const run = await field.start('matched');
    await field.drain();
    await completed(run.id);
    expect((await field.rows('matched', 'id')).map(({ id }) => Number(id))).toEqual([2, 5]);
    const found = await reconciliationOf(field.ctx(), run);
    expect(found?.differences).toEqual([]);
    const counts = found?.steps.map(({ step, recordsIn, recordsOut, recordsFiltered }) => [
      step,
      ...[recordsIn, recordsOut, recordsFiltered].map(Number),
    ]);
    expect(counts).toContainEqual(['join sites', 5, 3, 2]);
    expect(counts).toContainEqual(['filter with a size', 3, 2, 1]);
  });

  it('goes on into steps over all records, and may come after one', async () => {
    await define(field, 'by-site', visits, {
      transforms: [
        visitJoin,
        { type: 'aggregate', groupBy: ['site', 'site_name'], measures: { people: 'sum(people)::bigint' } },
        { ...visitJoin, columns: ['acres'], as: {}, unmatched: 'drop' },
        { type: 'sql', sql: 'select site, people, acres from records where acres > 0 order by people' },
      ],
    });
    await load(field, 'by-site', csv(...visitLines));
    expect(await field.rows('by_site', 'site people acres')).toEqual([
      { site: 'YS', people: 20n, acres: 759620 },
      { site: 'ZN', people: 60n, acres: 146597.25 },
    ]);
  });

  it('is done by the stage that transforms, alone too', async () => {
    await field.put('visits.csv', csv(...visitLines));
    for (const stage of ['INGEST', 'TRANSFORM', 'EXPORT'] as const) {
      const { id } = await field.start('visits', { stage });
      await field.drain();
      await completed(id);
      expect(await listReferences(database.agencyPool('doi'), { agencyId: 'doi', runId: id })).toHaveLength(
        stage === 'TRANSFORM' ? 1 : 0,
      );
    }
    expect((await field.rows('visits', 'id site_name')).map(({ site_name }) => site_name)).toEqual([
      'Zion',
      'Yosemite',
      null,
      null,
      'Zion',
      '',
    ]);
  });

  it('joins an empty dataset, which has nothing that fits', async () => {
    await define(field, 'nothing', sites, { transforms: [{ type: 'filter', rule: 'none', sql: 'false' }] });
    await load(field, 'nothing', csv(...siteLines));
    await define(field, 'lonely', visits, { transforms: [{ ...visitJoin, dataset: 'nothing' }] });
    await load(field, 'lonely', csv(...visitLines));
    expect((await field.rows('lonely', 'site_name')).every(({ site_name }) => site_name === null)).toBe(true);
  });
});

describe('the key of a join', () => {
  it('compares values of one type, and numbers of two exactly', async () => {
    await define(
      field,
      'typed',
      {
        whole: { type: 'integer' },
        exact: { type: 'string' },
        day: { type: 'string', format: 'date' },
        at: { type: 'string', format: 'date-time' },
        flag: { type: 'boolean' },
        word: { type: 'string' },
        ratio: { type: 'number' },
      },
      { transforms: [{ type: 'cast', column: 'exact', to: 'numeric' }] },
    );
    await load(
      field,
      'typed',
      csv(
        'whole,exact,day,at,flag,word,ratio',
        '1,1.5,2024-02-29,2024-02-29T10:00:00+02:00,true,"a ""b"",\r\nc",0.1',
        '2,2,2024-03-01,2024-03-01T00:00:00Z,false,A,1e300',
      ),
    );
    const record = {
      id: { type: 'integer' },
      n: { type: 'string' },
      day: { type: 'string', format: 'date' },
      at: { type: 'string', format: 'date-time' },
      flag: { type: 'boolean' },
      word: { type: 'string' },
      ratio: { type: 'number' },
    };
    const join = (on: object, as: string) => ({
      type: 'join',
      dataset: 'typed',
      on,
      columns: ['whole'],
      as: { whole: as },
    });
    await define(field, 'keyed', record, {
      transforms: [
        { type: 'cast', column: 'n', to: 'numeric' },
        { type: 'derive', column: 'near', sql: 'n * 1.04' },
        join({ id: 'whole' }, 'by_whole'),
        join({ n: 'whole' }, 'by_number'),
        join({ id: 'exact' }, 'by_exact'),
        join({ near: 'exact' }, 'by_near'),
        join({ day: 'day', flag: 'flag' }, 'by_day'),
        join({ at: 'at' }, 'by_time'),
        join({ word: 'word' }, 'by_word'),
        join({ ratio: 'ratio' }, 'by_ratio'),
      ],
    });
    await load(
      field,
      'keyed',
      csv(
        'id,n,day,at,flag,word,ratio',
        '2,1,2024-02-29,2024-02-29T08:00:00Z,true,"a ""b"",\r\nc",0.1',
        '1,1.9,2024-02-29,2024-02-29T08:00:01Z,false,a,0.2',
        '3,2,2024-03-01,2024-03-01T00:00:00Z,false,A,1e300',
      ),
    );
    const names = 'by_whole by_number by_exact by_near by_day by_time by_word by_ratio';
    const rows = await field.rows('keyed', names);
    expect(rows.map((row) => names.split(' ').map((name) => (row[name] === null ? null : Number(row[name]))))).toEqual([
      [2, 1, 2, null, 1, 1, 1, 1],
      [1, null, null, null, null, null, null, null],
      [null, 2, null, null, 2, 2, 2, 2],
    ]);
  });

  it.each([
    ['a number with a text', { id: 'code' }, /bigint and text/],
    ['a text with a number', { site: 'acres' }, /text and double precision/],
    ['a whole number with a floating one', { id: 'acres' }, /bigint and double precision/],
    ['a column that the record does not have', { nothing: 'code' }, /names the column "nothing"/],
  ])('is refused where it compares %s', async (what, on, message) => {
    const name = what.replaceAll(' ', '-');
    await define(field, name, visits, { transforms: [{ ...visitJoin, on }] });
    await field.put(`${name}.csv`, csv(...visitLines));
    const { id } = await field.start(name);
    await field.drain();
    expect(await failureOf(id)).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(message) as string,
    });
  });

  it('is refused where it stands for several records, unless the pipeline says which counts', async () => {
    await define(
      field,
      'many',
      { code: { type: 'string' }, name: text },
      { destination: { type: 'postgres', dataset: 'many', mode: 'append' } },
    );
    await load(field, 'many', csv('code,name', 'ZN,first', 'ZN,second', 'YS,only'));
    await load(field, 'many', csv('code,name', 'ZN,third'));
    const join = { type: 'join', dataset: 'many', on: { site: 'code' }, columns: ['name'] };
    await define(field, 'doubled', visits, { transforms: [join] });
    await field.put('doubled.csv', csv(...visitLines));
    const { id } = await field.start('doubled');
    await field.drain();
    expect(await failureOf(id)).toMatchObject({
      code: 'REFERENCE_AMBIGUOUS',
      message: expect.stringMatching(/3 records share 1 values of its key \(code\)/) as string,
    });
    for (const [duplicates, name] of [
      ['first', 'first'],
      ['last', 'third'],
    ] as const) {
      await define(field, 'doubled', visits, { transforms: [{ ...join, duplicates }] });
      await load(field, 'doubled', csv(...visitLines));
      expect((await field.rows('doubled', 'name')).map((row) => row['name'])).toEqual([
        name,
        'only',
        null,
        null,
        name,
        null,
      ]);
    }
  });
});

describe('what a join misses', () => {
  it('is told before the run is queued: no dataset, no load of it, no such column', async () => {
    await define(field, 'early', visits, { transforms: [{ ...visitJoin, dataset: 'never_loaded' }] });
    await expect(field.start('early')).rejects.toMatchObject({ code: 'REFERENCE_MISSING', message: /never_loaded/ });
    await expect(field.start('early', { stage: 'TRANSFORM' })).rejects.toMatchObject({ code: 'STAGE_INPUT_MISSING' });
    await field.put('early.csv', csv(...visitLines));
    const ingest = await field.start('early', { stage: 'INGEST' });
    await field.drain();
    await completed(ingest.id);
    await expect(field.start('early', { stage: 'TRANSFORM' })).rejects.toMatchObject({ code: 'REFERENCE_MISSING' });

    await define(field, 'failing', sites, { transforms: [{ type: 'cast', column: 'name', to: 'bigint' }] });
    await field.put('failing.csv', csv(...siteLines));
    const failed = await field.start('failing');
    await field.drain();
    expect(await failureOf(failed.id)).toMatchObject({ code: 'TRANSFORM_FAILED' });
    await define(field, 'early', visits, { transforms: [{ ...visitJoin, dataset: 'failing' }] });
    await expect(field.start('early')).rejects.toMatchObject({
      code: 'REFERENCE_MISSING',
      message: /no completed load/,
    });

    await define(field, 'early', visits, { transforms: [{ ...visitJoin, columns: ['name', 'height'] }] });
    await expect(field.start('early')).rejects.toMatchObject({
      code: 'REFERENCE_MISSING',
      message: /no column height/,
    });
  });

  it('is found when the run is planned, where it was there when it was asked for', async () => {
    await define(field, 'late-reference', sites);
    await load(field, 'late-reference', csv(...siteLines));
    await define(field, 'late', visits, { transforms: [{ ...visitJoin, dataset: 'late_reference' }] });
    await field.put('late.csv', csv(...visitLines));
    const { id } = await field.start('late');
    await database.admin().query(sql`update flux.loads set status = 'SUPERSEDED' where dataset = 'late_reference'`);
    await field.drain();
    expect(await failureOf(id)).toMatchObject({ code: 'REFERENCE_MISSING' });
  });

  it('may be what is classified above the run, which is neither joined nor told of', async () => {
    await define(field, 'lowered', sites);
    await load(field, 'lowered', csv(...siteLines));
    await define(field, 'open', visits, { transforms: [{ ...visitJoin, dataset: 'lowered' }] });
    await field.put('open.csv', csv(...visitLines));
    const planned = await field.start('open');
    await database.admin().query(sql`update flux.runs set classification = 1 where pipeline_name = 'lowered'`);
    await field.drain();
    const failure = await failureOf(planned.id);
    expect(failure).toMatchObject({
      code: 'REFERENCE_MISSING',
      message: expect.stringMatching(/classified U may read/) as string,
    });
    expect(JSON.stringify(failure)).not.toContain('CUI');
    await expect(field.start('open')).rejects.toMatchObject({ code: 'REFERENCE_MISSING' });
  });

  it('makes columns that the record has already: refused before the first record', async () => {
    await define(field, 'clash', visits, { transforms: [{ ...visitJoin, as: { name: 'people' } }] });
    await field.put('clash.csv', csv(...visitLines));
    const { id } = await field.start('clash');
    await field.drain();
    expect(await failureOf(id)).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/makes the column "people"/) as string,
    });
  });
});

describe('what a run joins stays as it was planned', () => {
  const names = async (dataset: string) => (await field.rows(dataset, 'site_name')).map((row) => row['site_name']);
  const old = ['Zion', 'Yosemite', null, null, 'Zion', ''];
  const renamed = csv('code,name,acres,opened', 'ZN,Renamed,1,', 'QQ,New,2,');
  async function breakOff(name: string, more: object = {}): Promise<string> {
    await load(field, 'sites', csv(...siteLines));
    await define(field, name, visits, { transforms: [visitJoin], batch: { records: 2 }, ...more });
    await field.put(`${name}.csv`, csv(...visitLines, 'x,ZN,1'));
    const { id } = await field.start(name);
    await field.drain(breaksAt(field.engine, 2));
    expect(await failureOf(id)).toMatchObject({ code: 'TRANSFORM_FAILED' });
    await load(field, 'sites', renamed);
    return id;
  }

  it('for a run that is resumed after the dataset was replaced, over its batches and over all records at once', async () => {
    const id = await breakOff('resumed');
    await resumeRun(field.ctx().api, field.ctx(), { runId: id, ...reasons });
    await field.drain();
    await completed(id);
    expect(await names('resumed')).toEqual(old);

    const whole = await breakOff('resumed-whole', { transforms: [{ type: 'deduplicate', key: ['id'] }, visitJoin] });
    await resumeRun(field.ctx().api, field.ctx(), { runId: whole, ...reasons });
    await field.drain();
    await completed(whole);
    expect(await names('resumed_whole')).toEqual(old);
  });

  it('for a fork and a rerun; a new run sees what is there now', async () => {
    const first = await breakOff('again');
    const { rows } = await database.admin().query<{ id: string }>(sql`
      select checkpoint_id as id from flux.checkpoints where run_id = ${first} and version = 1
    `);
    const fork = await forkRun(field.ctx().api, field.ctx(), { checkpointId: rows[0]?.id ?? '', ...reasons });
    await field.drain();
    await completed(fork.id);
    expect(await names('again')).toEqual(old);

    const rerun = await rerunRun(field.ctx().api, field.ctx(), { runId: first, pipeline: null, ...reasons });
    await field.drain();
    await completed(rerun.id);
    expect(await names('again')).toEqual(old);

    const key = { agencyId: 'doi', runId: rerun.id };
    const [pinned] = await listReferences(database.agencyPool('doi'), key);
    expect(pinned).toMatchObject({ dataset: 'sites', records: 4, classification: 0 });
    for (const runId of [first, fork.id]) {
      const [its] = await listReferences(database.agencyPool('doi'), { ...key, runId });
      expect(its).toEqual(pinned);
    }

    const now = await field.start('again');
    await field.drain();
    await completed(now.id);
    expect(await names('again')).toEqual(['Renamed', null, 'New', null, 'Renamed', null]);
  });

  it('for the rejected records of a run that are put through again', async () => {
    const narrow = { ...visits, people: { type: 'integer', maximum: 30 } };
    await load(field, 'sites', csv(...siteLines));
    await define(field, 'mended', narrow, { transforms: [visitJoin] });
    const first = await load(field, 'mended', csv(...visitLines));
    await load(field, 'sites', renamed);
    await define(field, 'mended', visits, { transforms: [visitJoin] });
    const run = await reprocessRejected(field.ctx().api, field.ctx(), { runId: first, ...reasons });
    await field.drain();
    await completed(run.id);
    expect(await names('mended')).toEqual(old);
  });

  it('and is proved: a changed file is not joined', async () => {
    const id = await breakOff('changed');
    await database.admin().query(sql`
      update flux.run_parts set record_count = 5 where run_id = ${id} and reference is not null
    `);
    await resumeRun(field.ctx().api, field.ctx(), { runId: id, ...reasons });
    await field.drain();
    expect(await failureOf(id)).toMatchObject({ code: 'OBJECT_CORRUPTED' });
  });
});

describe('a dry run', () => {
  it('joins what is there, and keeps nothing of it', async () => {
    await load(field, 'sites', csv(...siteLines));
    await define(field, 'tried', visits, { transforms: [{ ...visitJoin, unmatched: 'drop' }] });
    await field.put('tried.csv', csv(...visitLines));
    const before = await field.objects();
    const run = await field.start('tried', { dryRun: true });
    await field.drain();
    await completed(run.id);
    expect(await field.objects()).toEqual(before);
    expect(await listReferences(database.agencyPool('doi'), { agencyId: 'doi', runId: run.id })).toEqual([]);
    const plan = await dryRunPlanOf(field.ctx(), run);
    expect(plan?.sample).toMatchObject({ recordsRead: 6, recordsGood: 4, recordsFiltered: 2 });
    expect(plan?.columns).toContainEqual({ name: 'opened', type: 'date' });
  });
});

describe('the records that a run joins', () => {
  it('are the agency’s own, as its login sees them', async () => {
    await define(other, 'holdings', sites);
    const id = await load(other, 'holdings', csv(...siteLines));
    await define(field, 'curious', visits, { transforms: [{ ...visitJoin, dataset: 'holdings' }] });
    await expect(field.start('curious')).rejects.toMatchObject({ code: 'REFERENCE_MISSING' });
    const own = database.agencyPool('doi');
    expect(await findJoinable(own, ['holdings', 'sites'])).toMatchObject([{ name: 'sites' }]);
    expect(await listReferences(own, { agencyId: 'epa', runId: id })).toEqual([]);
    const columns = [{ name: 'name', type: 'text' }];
    await expect(snapshot({ agencyId: 'doi', schema: 'lake_epa', dataset: 'holdings', columns })).rejects.toMatchObject(
      { code: '42501' },
    );
  });

  it('are those of one moment, and no more than fit', async () => {
    const sitesRequest = {
      agencyId: 'doi',
      schema: 'lake_doi',
      dataset: 'sites',
      columns: [
        { name: 'code', type: 'text' },
        { name: 'name', type: 'text' },
      ],
    };
    await load(field, 'sites', csv(...siteLines));
    const { found, content } = await snapshot(sitesRequest);
    expect(found).toMatchObject({ records: 4, classification: 0 });
    expect(content).toBe('_flux_order,code,name\n1,ZN,Zion\n2,YS,Yosemite\n3,XX,""\n4,,Nowhere\n');
    await expect(snapshot({ ...sitesRequest, bytesMax: 20 })).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await expect(snapshot({ ...sitesRequest, signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow(
      'stopped',
    );
  });

  async function snapshot(
    asked: Omit<Parameters<typeof snapshotDataset>[1], 'to' | 'bytesMax' | 'signal'> & {
      bytesMax?: number;
      signal?: AbortSignal;
    },
  ) {
    const folder = await mkdtemp(path.join(tmpdir(), 'flux snapshot '));
    try {
      const file = path.join(folder, 'rows.csv');
      const found = await database
        .agencyPool('doi')
        .withConnection((db) =>
          intoNewFile(file, (to) =>
            snapshotDataset(db, { bytesMax: 1_000, signal: new AbortController().signal, ...asked, to }),
          ),
        );
      return { found, content: await readFile(file, 'utf8') };
    } finally {
      await rm(folder, { recursive: true });
    }
  }
});
