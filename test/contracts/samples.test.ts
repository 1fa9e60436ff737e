import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';

import { compileContract, validateContract } from '../../src/contracts/contract.ts';
import {
  type PipelineDefinition,
  validateAgencyManifest,
  validateConnection,
  validatePipelineDefinition,
} from '../../src/contracts/documents.ts';
import { requireOffered } from '../../src/contracts/offered.ts';
import type { Issue } from '../../src/errors.ts';
import {
  sampleAgencies,
  sampleConnections,
  sampleContract,
  sampleDataFolder,
  sampleManifest,
  sampleNames,
  samplePipelineDefinition,
  samplePipelines,
  type SamplePipeline,
} from '../support/samples.ts';

type Row = Record<string, unknown>;

/** What each sample's filter keeps, said here a second time in another language. */
const keeps: Record<string, (record: Row) => boolean> = {
  earthquakes: (record) => (record.properties as Row).type === 'earthquake',
  'wildlife-strikes': (record) => record['Aircraft Airline Operator'] !== 'MILITARY',
};

describe.each(sampleAgencies)('the sample agency %s', (agency) => {
  const manifest = validateAgencyManifest(sampleManifest(agency));

  it('has a manifest of its own slug', () => {
    expect(manifest.slug).toBe(agency);
  });

  it('has connections that name their files', () => {
    const names = sampleConnections(agency).map((connection) => validateConnection(connection).name);
    expect(names).toEqual(sampleNames('connections', agency));
  });

  it('has pipelines that this version runs, inside what the manifest supports', () => {
    for (const name of sampleNames('pipelines', agency)) {
      const definition = validatePipelineDefinition(samplePipelineDefinition(agency, name));
      requireOffered(definition);
      expect(definition.name).toBe(name);
      expect(sampleNames('connections', agency)).toContain(definition.source.connection);
      expect(sampleNames('contracts', agency)).toContain(definition.contract.name);
      expect(manifest.supported_content_types).toContain(definition.contentType);
      expect(manifest.supported_use_cases).toContain(definition.useCase);
    }
  });

  it('has at most one pipeline for a use case, so that a bare payload resolves', () => {
    const useCases = sampleNames('pipelines', agency).map(
      (name) => validatePipelineDefinition(samplePipelineDefinition(agency, name)).useCase,
    );
    expect(new Set(useCases).size).toBe(useCases.length);
  });
});

it('expects something of each sample pipeline', () => {
  const listed = samplePipelines.map(({ agency, pipeline }) => `${agency}/${pipeline}`).sort();
  const stored = sampleAgencies.flatMap((agency) =>
    sampleNames('pipelines', agency).map((name) => `${agency}/${name}`),
  );
  expect(listed).toEqual(stored.sort());
});

describe.each(samplePipelines)('the contract of $agency/$pipeline', (sample) => {
  const definition = validatePipelineDefinition(samplePipelineDefinition(sample.agency, sample.pipeline));
  const check = compileContract(validateContract(sampleContract(sample.agency, sample.contract)));

  it('holds against the publisher’s file as expected', async () => {
    expect(definition.contract.name).toBe(sample.contract);
    const found = await judge(sample, definition, check);
    expect(found).toEqual({
      read: sample.read,
      written: sample.written,
      rejected: sample.rejected,
      filtered: sample.filtered,
      firstRejected: sample.firstRejected,
    });
    expect(sample.read).toBe(sample.written + sample.rejected + sample.filtered);
  });

  it('lets the known dirt pass, and no more than three times as much', () => {
    const ratio = sample.rejected / sample.read;
    const { maxRejectedRatio } = definition.contract;
    expect(ratio).toBeLessThanOrEqual(maxRejectedRatio);
    expect(maxRejectedRatio).toBeLessThanOrEqual(Math.max(0.01, 3 * ratio));
  });
});

type Judgement = Omit<SamplePipeline, 'agency' | 'pipeline' | 'contract' | 'why'>;

async function judge(
  sample: SamplePipeline,
  definition: PipelineDefinition,
  check: (record: unknown) => Issue[],
): Promise<Judgement> {
  const file = join(sampleDataFolder, definition.source.path);
  if (definition.source.format.type === 'parquet') return judgeFlights(sample, file, check);
  const records = readRecords(
    definition,
    readFileSync(file, 'utf8'),
    sampleContract(sample.agency, sample.contract) as Row,
  );
  const rejected = records.flatMap((record, at) => (check(record).length > 0 ? [at + 1] : []));
  const good = records.filter((_record, at) => !rejected.includes(at + 1));
  const written = good.filter(keeps[sample.pipeline] ?? (() => true)).length;
  return {
    read: records.length,
    written,
    rejected: rejected.length,
    filtered: good.length - written,
    firstRejected: rejected.slice(0, sample.firstRejected.length),
  };
}

/** Three million rows are too many for Ajv in a test: SQL says which rows break the rules, Ajv says so of those and of others. */
async function judgeFlights(
  sample: SamplePipeline,
  file: string,
  check: (record: unknown) => Issue[],
): Promise<Judgement> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1', memory_limit: '256MB' });
  const session = await instance.connect();
  const source = `read_parquet('${file.replaceAll("'", "''")}', file_row_number = true)`;
  const [count] = (await session.runAndReadAll(`select count(*) from ${source}`)).getRows();
  const text = `select file_row_number + 1, strftime(date, '%Y-%m-%dT%H:%M:%S'), delay::int, distance::int, origin, destination from ${source}`;
  const broken = (
    await session.runAndReadAll(`${text} where not (
      date is not null and delay between -120 and 2880 and distance between 1 and 6000
      and regexp_full_match(origin, '[A-Z]{3}') and regexp_full_match(destination, '[A-Z]{3}')) order by 1`)
  ).getRows();
  const others = (await session.runAndReadAll(`${text} where file_row_number % 3000 = 0 and delay >= -120`)).getRows();
  session.closeSync();
  instance.closeSync();
  const flight = ([, date, delay, distance, origin, destination]: readonly unknown[]): Row => {
    return { date, delay, distance, origin, destination };
  };
  expect(broken.map((row) => check(flight(row)).map(({ path, rule }) => `${path} ${rule}`))).toEqual(
    broken.map(() => ['/delay minimum']),
  );
  expect(others.flatMap((row) => check(flight(row)))).toEqual([]);
  return {
    read: Number(count?.[0]),
    written: Number(count?.[0]) - broken.length,
    rejected: broken.length,
    filtered: 0,
    firstRejected: broken.map(([row]) => Number(row)).slice(0, sample.firstRejected.length),
  };
}

function readRecords({ source: { format } }: PipelineDefinition, text: string, contract: Row): Row[] {
  if (format.type === 'json') {
    const steps = (format.recordPath ?? '').split('/').slice(1);
    return steps.reduce<unknown>((at, step) => (at as Row)[step], JSON.parse(text)) as Row[];
  }
  const [header, ...lines] = readCells(text, format.type === 'csv' ? (format.delimiter ?? ',') : ',');
  return lines.map((cells) => {
    const entries = cells.map((cell, at) => [header?.[at] ?? '', cell] as const).filter(([, cell]) => cell !== '');
    return Object.fromEntries(
      entries.map(([name, cell]) => [name, typed(cell, (contract.properties as Row)[name] as Row)]),
    );
  });
}

/** As its contract's type, where it is written as one; otherwise as the text that it is, which the contract then refuses. */
function typed(cell: string, { type }: Row): unknown {
  const number = type === 'integer' ? /^[+-]?[0-9]+$/ : /^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)$/;
  return (type === 'integer' || type === 'number') && number.test(cell) ? Number(cell) : cell;
}

function readCells(text: string, delimiter: string): string[][] {
  const rows: string[][] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line === '') continue;
    const cells = line.match(new RegExp(`(?:"(?:[^"]|"")*"|[^${delimiter}]*)(?:${delimiter}|$)`, 'gu')) ?? [];
    const whole = line.endsWith(delimiter) ? cells : cells.slice(0, -1);
    rows.push(
      whole.map((cell) =>
        cell
          .replace(new RegExp(`${delimiter}$`), '')
          .replace(/^"(.*)"$/, '$1')
          .replaceAll('""', '"'),
      ),
    );
  }
  return rows;
}
