import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { describe, expect, it } from 'vitest';

import {
  validateAgencyManifest,
  validateConnection,
  validatePipelineDefinition,
} from '../../src/contracts/documents.ts';
import { useDatabase } from '../support/database.ts';
import { ecfrFigures } from '../support/ecfr.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const sample = new URL('../../schemas/v1/samples/ecfr/', import.meta.url);
const document = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(path, sample), 'utf8')) as Record<string, unknown>;
const field = useField(database, bench, 'ofr', {
  supportedUseCases: validateAgencyManifest(document('agency.json')).supported_use_cases,
});

/** In the order in which each finds what it joins. */
const pipelines = [
  'ecfr-corrections',
  'ecfr-title-corrections',
  'ecfr-title-agencies',
  'ecfr-agency-corrections',
  'ecfr-agencies',
];
/** The whole documents, which a checkout does not hold. */
const wholeFolder =
  process.env['FLUX_ECFR_DATA'] ?? fileURLToPath(new URL('../../../shared/data/ecfr/', import.meta.url));

async function register(): Promise<void> {
  for (const name of ['ecfr-agency', 'ecfr-correction']) {
    const { properties, ...more } = document(`contracts/${name}.json`);
    await field.contract(name, properties as Record<string, unknown>, more);
  }
  for (const name of pipelines) {
    const definition = document(`pipelines/${name}.json`);
    await field.pipeline(name, { ...definition, source: { ...(definition['source'] as object), connection: 'files' } });
  }
}

async function loadAll(agencies: string, corrections: string): Promise<void> {
  await field.put('agencies.json', agencies);
  await field.put('corrections.json', corrections);
  for (const pipeline of pipelines) {
    const { id } = await field.start(pipeline);
    await field.drain();
    const { status, events } = await readRun(database, id);
    expect(events.at(-1)?.data).not.toHaveProperty('code');
    expect(status).toBe('COMPLETED');
  }
}

/** Every figure of every dataset against a computation that shares nothing with the pipelines. */
async function expectFigures(agencies: string, corrections: string): Promise<ReturnType<typeof ecfrFigures>> {
  const figures = ecfrFigures(agencies, corrections);
  const rows = async (dataset: string, columns: string) => field.rows(dataset, columns);

  const found = await rows('ecfr_agencies', 'slug parent name cfr_references cfr_titles corrections volatility_index');
  expect(
    found.map((row) => ({
      slug: row['slug'],
      parent: row['parent'],
      name: row['name'],
      references: Number(row['cfr_references']),
      titles: Number(row['cfr_titles']),
      corrections: Number(row['corrections']),
      index: row['volatility_index'],
    })),
  ).toEqual(figures.agencies);

  const lags = (await rows('ecfr_corrections', 'id lag_days')).map(
    ({ id, lag_days: days }) => [Number(id), days === null ? null : Number(days)] as const,
  );
  expect(lags.sort(([a], [b]) => a - b)).toEqual(figures.lags);

  const titles = await rows('ecfr_title_corrections', 'title corrections mean_lag_days');
  expect(titles.map(({ title, corrections: count }) => [Number(title), Number(count)])).toEqual(
    figures.titles.map(({ title, corrections: count }) => [title, count]),
  );
  for (const [at, { meanLag }] of figures.titles.entries()) expectMean(titles[at]?.['mean_lag_days'], meanLag);

  const writers = await rows('ecfr_title_agencies', 'title agencies');
  expect(writers.map(({ title, agencies: slugs }) => [Number(title), slugs])).toEqual(figures.titleAgencies);

  const cells = await rows('ecfr_agency_corrections', 'agency title year month corrections mean_lag_days');
  expect(cells).toHaveLength(figures.cells.size);
  for (const { agency, title, year, month, corrections: count, mean_lag_days: mean } of cells) {
    const cell = figures.cells.get([agency, title, year, month].join(' '));
    expect(Number(count)).toBe(cell?.corrections);
    expectMean(mean, cell?.meanLag ?? null);
  }
  return figures;
}

/** A mean is rounded to two decimals; its last digit may differ where a half is no binary fraction. */
function expectMean(found: unknown, expected: number | null): void {
  if (expected === null) expect(found).toBeNull();
  else expect(Math.abs(Number(found) - expected)).toBeLessThanOrEqual(0.005_001);
}

describe('the eCFR sample', () => {
  it('is documents that this version takes, each named as its file', () => {
    expect(validateAgencyManifest(document('agency.json')).slug).toBe('ofr');
    expect(validateConnection(document('connection.json')).name).toBe('ecfr-files');
    const names = readdirSync(new URL('pipelines/', sample)).map((file) => file.replace('.json', ''));
    expect(names.sort()).toEqual([...pipelines].sort());
    const { supported_use_cases: supported } = validateAgencyManifest(document('agency.json'));
    const uses = names.map((name) => {
      const definition = validatePipelineDefinition(document(`pipelines/${name}.json`));
      expect(definition).toMatchObject({ name, source: { connection: 'ecfr-files' } });
      return definition.useCase;
    });
    expect(uses.sort()).toEqual([...supported].sort());
  });

  it('gives every figure of the records that it ships', async () => {
    await register();
    const [agencies, corrections] = ['data/agencies.json', 'data/corrections.json'].map((path) =>
      readFileSync(new URL(path, sample), 'utf8'),
    ) as [string, string];
    await loadAll(agencies, corrections);
    const figures = await expectFigures(agencies, corrections);
    expect(figures.agencies.some(({ index }) => index === null)).toBe(true);
    expect(figures.lags.some(([, days]) => days === null)).toBe(true);
  });

  it('gives every figure of the whole documents', async ({ skip }) => {
    if (!existsSync(`${wholeFolder}/agencies.json`))
      skip(`the eCFR's whole documents are not at ${wholeFolder}; FLUX_ECFR_DATA names their folder`);
    const [agencies, corrections] = ['agencies.json', 'corrections.json'].map((name) =>
      readFileSync(`${wholeFolder}/${name}`, 'utf8'),
    ) as [string, string];
    await loadAll(agencies, corrections);
    const figures = await expectFigures(agencies, corrections);
    expect({
      parents: figures.agencies.filter(({ parent }) => parent === null).length,
      agencies: figures.agencies.length,
      references: figures.agencies.reduce((sum, { references }) => sum + references, 0),
      corrections: figures.lags.length,
      titles: figures.titles.length,
    }).toEqual({ parents: 153, agencies: 316, references: 486, corrections: 3_343, titles: 46 });
  });
});
