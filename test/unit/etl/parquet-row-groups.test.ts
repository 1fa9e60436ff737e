import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { handMadeParquet, rowGroupsOf } from '../../support/parquet-bytes.ts';
import { parquetOf } from '../../support/parquet.ts';
import { runSession } from './session.ts';

const contract = contractOf({ id: { type: 'integer' }, note: { type: 'string' } });
const noteOf = (row: number): string => `note ${String(row)}`;
const inBatches = (records: number) => definitionOf('a.parquet', { type: 'parquet' }, { batch: { records } });
const repeated = (count: number, rows: number): number[] => Array.from({ length: count }, () => rows);

describe('the row groups of a Parquet file', () => {
  test.each<[string, number[], number]>([
    ['one of 60,000 rows', [60_000], 1_500],
    ['thousands of a few rows', repeated(3_000, 7), 1_000],
    ['empty ones first, last and between', [0, 10, 0, 0, 25, 0, 1, 14, 0], 4],
    ['a large one between small ones', [3, 9_000, 2, 0, 1], 700],
  ])('%s: every row is read once, whatever the cut', async (_name, groups, records) => {
    const file = handMadeParquet({ groups, noteOf });
    const counted = rowGroupsOf(file);
    expect(counted).toEqual(groups);
    const total = counted.reduce((sum, rows) => sum + rows, 0);
    const { survey, batches, rows } = await runSession(file, inBatches(records), contract);
    expect(survey.recordsTotal).toBe(total);
    expect(survey.ranges.reduce((sum, range) => sum + range.records, 0)).toBe(total);
    expect(batches.reduce((sum, { recordsRead }) => sum + recordsRead, 0)).toBe(total);
    expect(rows).toEqual(
      Array.from({ length: total }, (_each, row) => [String(row + 1), String(row + 1), noteOf(row)]),
    );
  });

  test('of nothing but empty ones hold no record', async () => {
    const file = handMadeParquet({ groups: [0, 0], noteOf });
    expect(rowGroupsOf(file)).toEqual([0, 0]);
    await expect(runSession(file, inBatches(10), contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: 'The source holds no record. Expected at least one.',
    });
  });

  test('of one that is larger than a worker’s memory are read page by page', async () => {
    const note = 'x'.repeat(1_000);
    const file = handMadeParquet({ groups: [300_000], noteOf: () => note });
    expect(file.length).toBeGreaterThan(300_000_000);
    const { batches } = await runSession(file, inBatches(30_000), contract, { keepRows: false });
    expect(batches.reduce((sum, { goodCount }) => sum + goodCount, 0)).toBe(300_000);
  });

  test('of pages that are larger than a worker’s memory are refused in words', async () => {
    const file = await parquetOf(
      `select i as id, md5(i::varchar) || repeat('x', 200) || md5(i::varchar) as note from range(600000) t(i)`,
      600_000,
    );
    await expect(
      runSession(file, inBatches(100_000), contract, { keepRows: false, memoryMegabytes: 64 }),
    ).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/memory/) as string,
    });
  });
});
