import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PipelineDefinition, StagedPart } from '../../../src/etl/engine-types.ts';
import type { Range } from '../../../src/etl/protocol.ts';
import { contractOf, definitionOf, etlBench, type EtlBench } from '../../support/etl.ts';
import { parquetOf } from '../../support/parquet.ts';
import { ebcdic, withDescriptor } from './mainframe/encode.ts';
import { withSession } from './session.ts';
import { row, workbookOf } from './xlsx.ts';

/** Twenty batches, four partitions; twice as many records as a sample has. */
const recordCount = 20_000;
const batch = { records: 1_000 };
/** One column holds numbers of social security in the middle alone, the other one at the end alone. */
const middle = { from: 11_300, to: 11_500 };
const end = { from: recordCount - 90, to: recordCount };

interface Person {
  id: number;
  ssn: string;
  other_ssn: string;
}
const none = '---------';
const people = (count = recordCount): Person[] =>
  Array.from({ length: count }, (_each, i) => {
    const of = ({ from, to }: typeof middle): string =>
      i >= from && i < to ? `07805${String(1_000 + (i % 9_000))}` : none;
    return { id: i + 1, ssn: of(middle), other_ssn: of(end) };
  });
const records = people();
const lines = (of: (person: Person) => string): string => records.map((person) => `${of(person)}\n`).join('');
const padded = ({ id, ssn, other_ssn }: Person): string => `${String(id).padStart(6, '0')}${ssn}${other_ssn}`;
const csv = `id,ssn,other_ssn\n${lines(({ id, ssn, other_ssn }) => `${String(id)},${ssn},${other_ssn}`)}`;
const places = [
  { name: 'id', start: 1, length: 6 },
  { name: 'ssn', start: 7, length: 9 },
  { name: 'other_ssn', start: 16, length: 9 },
];
const copybook = '01 R. 05 ID PIC 9(6). 05 SSN PIC X(9). 05 OTHER-SSN PIC X(9).';
const onMainframe = records.map((person) => ebcdic(padded(person).replaceAll('-', ' ')));

type Format = PipelineDefinition['source']['format'];
const text = { type: 'string' };
const contract = contractOf({ id: { type: 'integer' }, ssn: text, other_ssn: text });

type Content = () => string | Uint8Array | Promise<Uint8Array>;
const formats: readonly (readonly [string, Format, Content])[] = [
  ['CSV', { type: 'csv', header: true }, () => csv],
  [
    'CSV with quotes and long lines',
    { type: 'csv', header: true },
    () =>
      `id,ssn,other_ssn,note\n${lines(({ id, ssn, other_ssn }) => `${String(id)},"${ssn}",${other_ssn},"${'a\n'.repeat(90)}"`)}`,
  ],
  ['TSV', { type: 'tsv', header: true }, () => csv.replaceAll(',', '\t')],
  ['NDJSON', { type: 'ndjson' }, () => lines((person) => JSON.stringify(person))],
  ['a JSON document', { type: 'json', recordPath: '/people' }, () => JSON.stringify({ people: records, more: [1, 2] })],
  [
    'XML',
    { type: 'xml', recordPath: '/people/person' },
    () =>
      `<people>${lines(({ id, ssn, other_ssn }) => `<person><id>${String(id)}</id><ssn>${ssn}</ssn><other_ssn>${other_ssn}</other_ssn></person>`)}</people>`,
  ],
  [
    'XLSX',
    { type: 'xlsx' },
    () =>
      workbookOf({
        rows: [['id', 'ssn', 'other_ssn'], ...records.map((person) => Object.values(person) as (string | number)[])]
          .map((cells, at) => row(at + 1, cells))
          .join(''),
      }),
  ],
  ['lines of fixed width', { type: 'fixed', columns: places }, () => lines(padded)],
  ['records of fixed length', { type: 'fixed', columns: places, recordLength: 24 }, () => records.map(padded).join('')],
  ['a mainframe’s records', { type: 'mainframe', copybook }, () => Buffer.concat(onMainframe)],
  [
    'a mainframe’s records of variable length',
    { type: 'mainframe', copybook, records: 'variable' },
    () => Buffer.concat(onMainframe.map(withDescriptor)),
  ],
  [
    'a mainframe’s blocks',
    { type: 'mainframe', copybook, records: 'blocked' },
    () =>
      Buffer.concat(
        Array.from({ length: 200 }, (_each, block) =>
          withDescriptor(Buffer.concat(onMainframe.slice(block * 100, block * 100 + 100).map(withDescriptor))),
        ),
      ),
  ],
  [
    'Parquet',
    { type: 'parquet' },
    () =>
      parquetOf(`
        select i + 1 as id, ${(['ssn', 'other_ssn'] as const)
          .map((name) => {
            const { from, to } = name === 'ssn' ? middle : end;
            return `case when i >= ${String(from)} and i < ${String(to)} then '07805' || (1000 + i % 9000) else '${none}' end as ${name}`;
          })
          .join(', ')}
        from range(${String(recordCount)}) t(i)`),
  ],
];

/** What is unpacked, or put together, before it is read. */
const throughEngine: readonly (readonly [string, Format, Content, Record<string, unknown>])[] = [
  ['CSV', { type: 'csv', header: true }, () => csv, {}],
  ['compressed CSV', { type: 'csv', header: true, compression: 'gzip' }, () => gzipSync(csv), {}],
  [
    'a list in pages',
    { type: 'json', recordPath: '/data' },
    () =>
      JSON.stringify(
        Array.from({ length: 40 }, (_each, page) => ({ data: records.slice(page * 500, page * 500 + 500) })),
      ),
    { pages: { next: '/next' } },
  ],
];

const kindsOf = (columns: readonly { column: string; kind: string }[]): string[] =>
  columns.map(({ column, kind }) => `${column} ${kind}`).sort();
const both = ['other_ssn SSN', 'ssn SSN'];

describe('a sample', () => {
  test.each(formats)('of %s holds records of all of it', async (_name, format, content) => {
    const definition = definitionOf('people', format, { batch });
    const bytes = await content();
    await withSession(bytes, definition, contract, async (session) => {
      const { ranges, ...survey } = await session.survey();
      expect([survey.recordsTotal, ranges.length]).toEqual([recordCount, 4]);
      const surveyed = { ...survey, bytesTotal: bytes.length };
      const sample = await session.sample(ranges[0] as Range, surveyed, 10_000);
      expect(kindsOf(sample.personalData)).toEqual(both);
      expect(sample.recordsGood).toBe(sample.recordsRead);
      expect(sample.recordsRead).toBeGreaterThan(8_000);
      expect(sample.recordsRead).toBeLessThanOrEqual(10_000);
      expect([sample.firstRecord, sample.lastRecord]).toEqual([1, recordCount]);
      expect(sample.places).toBeGreaterThan(100);
      expect(sample.widestGap).toBeLessThan(100);
      // The same records every time.
      expect(await session.sample(ranges[0] as Range, surveyed, 10_000)).toEqual(sample);
      const few = await session.sample(ranges[0] as Range, surveyed, 20);
      expect(few.recordsRead).toBeLessThanOrEqual(20);
    });
  });

  test('takes fewer records where they are long, and never more bytes than a batch', async () => {
    const long = `id,note\n${Array.from({ length: 1_000 }, (_each, i) => `${String(i + 1)},${'x'.repeat(i < 900 ? 1_000 : 1_000_000)}\n`).join('')}`;
    const notes = contractOf({ id: { type: 'integer' }, note: text });
    await withSession(long, definitionOf('a', { type: 'csv', header: true }), notes, async (session) => {
      const { ranges, ...survey } = await session.survey();
      const surveyed = { ...survey, bytesTotal: long.length };
      const sample = await session.sample(ranges[0] as Range, surveyed, 10_000);
      expect([sample.firstRecord, sample.lastRecord]).toEqual([1, 1_000]);
      expect(sample.recordsRead).toBeGreaterThan(100);
      expect(sample.recordsRead).toBeLessThan(400);
    });
  });
});

test('of a stage’s parts sixteen are opened, and looked at up to the end of the last one', async () => {
  const bench = await etlBench();
  try {
    await bench.put('people', csv);
    const definition = definitionOf('people', { type: 'csv', header: true }, { batch: { records: 500 } });
    const object = await bench.pin(definition);
    const { signal } = new AbortController();
    const request = { agency: 'test', definition, contract, workFolder: bench.workFolder, signal };
    const ingest = { ...request, object, stage: 'INGEST' as const };
    const plan = await bench.engine.planSource(ingest);
    const parts: StagedPart[] = [];
    for (const range of plan.ranges)
      for await (const { part, release } of bench.engine.openBatches({ ...ingest, range, cursor: null })) {
        if (part) parts.push(part);
        await release();
      }
    expect(parts).toHaveLength(40);
    const staged = { columns: plan.staged ?? [], parts };
    const { sample } = await bench.engine.dryRun({ ...request, stage: 'EXPORT', staged, pin: null });
    expect(kindsOf(sample.personalData)).toContain('other_ssn SSN');
    expect([sample.places, sample.recordsRead, sample.firstRecord, sample.lastRecord]).toEqual([16, 8_000, 1, 20_000]);
    // What lies between the opened parts.
    expect(sample.widestGap).toBeLessThanOrEqual(1_000);
  } finally {
    await bench.remove();
  }
});

describe('a pipeline that refuses personal data', () => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench();
  });
  afterAll(() => bench.remove());

  test.each(throughEngine)(
    'finds what stands in the middle or at the end alone of %s',
    async (_name, format, content, more) => {
      await writeFile(join(bench.sources, 'people'), await content());
      const definition = definitionOf('people', format, { batch, personalData: { onFound: 'refuse' } });
      const object = await bench.pin(definition);
      const request = {
        agency: 'test',
        definition: { ...definition, source: { ...definition.source, ...more } },
        contract,
        object,
        workFolder: bench.workFolder,
        signal: new AbortController().signal,
      };
      const refused = {
        code: 'PERSONAL_DATA_FOUND',
        message: expect.stringMatching(/ssn \(SSN, .* other_ssn \(SSN, |other_ssn \(SSN, .* ssn \(SSN, /) as string,
      };
      await expect(bench.engine.planSource(request)).rejects.toMatchObject(refused);
      // A fork has the first run's ranges, and its source is looked at all over again.
      const first = { from: {}, record: 0, records: 5_000 };
      await expect(bench.engine.requireNoPersonalData(request, first)).rejects.toMatchObject(refused);
    },
  );
});
