/** Datasets through the API: what runs have left in the lake, as each role, agency and clearance may see it. */
import { graphql } from 'graphql';
import { beforeAll, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { startRun } from '../../src/domain/start-run.ts';
import { apiDeps, type CallerOptions, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { type Field, useField } from '../support/field.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const noaa = useField(database, bench, 'noaa');
const usgs = useField(database, bench, 'usgs');

interface Shown {
  name: string;
  columns: { name: string; type: string }[];
  loadCount: number;
  recordCount: string;
  loads: { edges: { node: Record<string, unknown> }[] };
  preview: { loadNo: string | null; cut: boolean; rows: { recordNo: string; values: (string | null)[] }[] } | null;
}

async function ask(source: string, variables: Record<string, unknown>, agency = 'noaa', caller: CallerOptions = {}) {
  const contextValue = contextOf(database, agency, { ...caller, api: apiDeps(database) });
  const { data, errors } = await graphql({ schema, source, variableValues: variables, contextValue });
  return {
    data: data as Record<string, unknown>,
    codes: errors?.map(({ originalError }) => (originalError as { code?: string }).code),
  };
}

const query = `query($name: String!, $load: BigInt, $first: Int) { dataset(name: $name) {
  name columns { name type } loadCount recordCount
  loads { edges { node { loadNo status recordCount replacedCount } } }
  preview(load: $load, first: $first) { loadNo cut rows { recordNo values } } } }`;

async function show(
  name: string,
  more: { load?: string; first?: number } = {},
  { agency = 'noaa', ...caller }: CallerOptions & { agency?: string } = {},
): Promise<{ dataset: Shown | null; codes: unknown }> {
  const { data, codes } = await ask(query, { name, ...more }, agency, caller);
  return { dataset: data['dataset'] as Shown | null, codes };
}

const properties = { id: { type: 'integer' }, note: { type: 'string' } };
const nothing = { payload: null, stage: null, dryRun: null, metadata: null, reason: null, idempotencyKey: null };
async function load(field: Field, pipeline: string, content: string, more: Record<string, unknown>): Promise<void> {
  await field.put(`${pipeline}.csv`, content);
  await field.contract(pipeline, properties);
  await field.pipeline(pipeline, {
    source: { connection: 'files', path: `${pipeline}.csv`, format: { type: 'csv', header: true } },
    contract: { name: pipeline, version: 1 },
    ...more,
  });
  const cleared = contextOf(database, field.ctx().principal.agency, { clearance: 5, api: field.ctx().api });
  await startRun(cleared.api, cleared, { ...nothing, pipeline });
  await field.drain();
}
const to = (dataset: string, more: object): { destination: object } => ({
  destination: { type: 'postgres', dataset, ...more },
});
const rowsOf = (ids: readonly number[], note: (id: number) => string): string =>
  `id,note\n${ids.map((id) => `${String(id)},${note(id)}\n`).join('')}`;
const upTo = (n: number): number[] => Array.from({ length: n }, (_each, i) => i + 1);

beforeAll(async () => {
  const merge = to('tides', { mode: 'merge', key: ['id'] });
  await load(
    noaa,
    'tides',
    rowsOf(upTo(120), (id) => `first ${String(id)}`),
    merge,
  );
  await load(
    noaa,
    'tides-again',
    rowsOf([7, 8, 500], (id) => (id === 8 ? 'x'.repeat(300) : '')),
    merge,
  );
  await load(
    noaa,
    'tides-secret',
    rowsOf([900], () => 'for the cleared'),
    { ...merge, classification: 'S' },
  );
  await load(
    noaa,
    'buoys',
    rowsOf([1], () => 'of noaa'),
    to('buoys', { mode: 'replace' }),
  );
  await load(
    noaa,
    'buoys-new',
    rowsOf([1, 2], () => 'of noaa'),
    to('buoys', { mode: 'replace' }),
  );
  await load(
    noaa,
    'hidden',
    rowsOf([1], () => 'for the cleared'),
    { ...to('hidden', { mode: 'append' }), classification: 'S' },
  );
  await load(
    usgs,
    'buoys',
    rowsOf([1], () => 'of usgs'),
    to('buoys', { mode: 'append' }),
  );
}, 180_000);

describe('a dataset', () => {
  it('counts the records that stand in it, also after merges', async () => {
    const { dataset, codes } = await show('tides', {}, { clearance: 5 });
    expect(codes).toBeUndefined();
    expect(dataset).toMatchObject({
      columns: [
        { name: 'id', type: 'bigint' },
        { name: 'note', type: 'text' },
      ],
      loadCount: 3,
      recordCount: '122',
    });
    const { rows } = await database.agencyPool('noaa', 'ro').query<{ n: bigint }>(sql`
      select count(*) as n from ${ident('lake_noaa', 'tides')}
    `);
    expect(String(rows[0]?.n)).toBe(dataset?.recordCount);
    expect(dataset?.loads.edges.map(({ node }) => node)).toEqual([
      { loadNo: '3', status: 'PUBLISHED', recordCount: '1', replacedCount: '0' },
      { loadNo: '2', status: 'PUBLISHED', recordCount: '3', replacedCount: '0' },
      { loadNo: '1', status: 'PUBLISHED', recordCount: '120', replacedCount: '2' },
    ]);
  });

  it('keeps the loads that another has replaced, and counts the new one', async () => {
    const { dataset } = await show('buoys');
    expect(dataset).toMatchObject({ loadCount: 1, recordCount: '2', preview: { loadNo: '2' } });
    expect(dataset?.loads.edges.map(({ node }) => node['status'])).toEqual(['PUBLISHED', 'SUPERSEDED']);
  });

  it('shows the newest load that the caller may see, with values as PostgreSQL writes them', async () => {
    const { dataset, codes } = await show('tides');
    expect(codes).toBeUndefined();
    expect(dataset?.preview).toEqual({
      loadNo: '2',
      cut: true,
      rows: [
        { recordNo: '1', values: ['7', null] },
        { recordNo: '2', values: ['8', `${'x'.repeat(256)}…`] },
        { recordNo: '3', values: ['500', null] },
      ],
    });
  });

  it('shows another load by its number, twenty records unless more are asked for', async () => {
    const few = await show('tides', { load: '1' });
    expect(few.dataset?.preview?.rows).toHaveLength(20);
    expect(few.dataset?.preview?.rows[0]).toEqual({ recordNo: '1', values: ['1', 'first 1'] });
    const many = await show('tides', { load: '1', first: 100 });
    expect(many.dataset?.preview?.rows).toHaveLength(100);
  });

  it.each([
    [{ first: 0 }, 'INVALID_INPUT'],
    [{ first: 101 }, 'LIMIT_EXCEEDED'],
    [{ load: '99' }, 'NOT_FOUND'],
  ])('refuses a preview of %j and answers the rest', async (more, code) => {
    const { dataset, codes } = await show('tides', more);
    expect(codes).toEqual([code]);
    expect(dataset).toMatchObject({ name: 'tides', preview: null });
  });

  it('is listed by name, page by page in both directions', async () => {
    const list = `query($first: Int, $after: String, $last: Int, $before: String) {
      datasets(first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { name } } pageInfo { hasNextPage hasPreviousPage } } }`;
    const page = async (variables: Record<string, unknown>) => {
      const { data } = await ask(list, variables, 'noaa', { clearance: 5 });
      return data['datasets'] as {
        edges: { cursor: string; node: { name: string } }[];
        pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean };
      };
    };
    const all = await page({});
    expect(all.edges.map(({ node }) => node.name)).toEqual(['buoys', 'hidden', 'tides']);
    const second = await page({ first: 1, after: all.edges[0]?.cursor });
    expect(second).toMatchObject({ edges: [{ node: { name: 'hidden' } }], pageInfo: { hasNextPage: true } });
    const back = await page({ last: 1, before: all.edges[1]?.cursor });
    expect(back).toMatchObject({ edges: [{ node: { name: 'buoys' } }], pageInfo: { hasPreviousPage: false } });
  });
});

describe('nobody sees more than theirs', () => {
  it('of two agencies with a dataset of one name each sees its own', async () => {
    const [own, other] = [await show('buoys'), await show('buoys', {}, { agency: 'usgs' })];
    expect(own.dataset?.preview?.rows.map(({ values }) => values[1])).toEqual(['of noaa', 'of noaa']);
    expect(other.dataset?.preview?.rows.map(({ values }) => values[1])).toEqual(['of usgs']);
  });

  it('another agency’s dataset does not exist, by name and by id', async () => {
    expect(await show('tides', {}, { agency: 'usgs', clearance: 5 })).toEqual({ dataset: null, codes: undefined });
    const id = Buffer.from('Dataset:tides').toString('base64url');
    const { data, codes } = await ask('query($id: ID!) { node(id: $id) { id } }', { id }, 'usgs', { clearance: 5 });
    expect([data, codes]).toEqual([{ node: null }, undefined]);
  });

  it('a viewer sees columns and counts, and no record', async () => {
    const { dataset, codes } = await show('tides', {}, { role: 'viewer' });
    expect(codes).toEqual(['FORBIDDEN']);
    expect(dataset).toMatchObject({ recordCount: '121', preview: null });
  });

  it('loads above the caller’s clearance are not there: not counted, not listed, not shown', async () => {
    const { dataset } = await show('tides');
    expect(dataset).toMatchObject({ loadCount: 2, recordCount: '121' });
    expect(dataset?.loads.edges.map(({ node }) => node['loadNo'])).toEqual(['2', '1']);
    expect((await show('tides', { load: '3' })).codes).toEqual(['NOT_FOUND']);
    const cleared = await show('tides', { load: '3' }, { clearance: 5 });
    expect(cleared.dataset?.preview?.rows[0]?.values).toEqual(['900', 'for the cleared']);
  });

  it('a dataset to which only runs above the caller’s clearance have written does not exist', async () => {
    expect((await show('hidden')).dataset).toBeNull();
    expect((await show('hidden', {}, { clearance: 5 })).dataset).toMatchObject({ recordCount: '1' });
  });

  it('the lake is read as the agency, whatever is asked for', async () => {
    const { lake } = apiDeps(database);
    const asked = { database: database.name, columns: ['note'], loadNo: 1n, limit: 10, valueLength: 10 };
    await expect(lake?.read({ ...asked, agency: 'usgs', dataset: 'tides' })).rejects.toMatchObject({ code: '42P01' });
    await expect(
      lake?.read({ ...asked, agency: 'usgs', dataset: 'x" union select * from lake_noaa."tides' }),
    ).rejects.toMatchObject({ code: '42P01' });
    await expect(
      database.agencyPool('usgs', 'ro').query(sql`select from ${ident('lake_noaa', 'tides')}`),
    ).rejects.toMatchObject({ code: '42501' });
  });
});
