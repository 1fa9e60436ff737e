import { expect, test } from 'vitest';
import type { BatchSession } from '../../../src/etl/batch-session.ts';
import { firstBatchRecords } from '../../../src/etl/batch-size.ts';
import type { Range } from '../../../src/etl/protocol.ts';
import { definitionOf } from '../../support/etl.ts';
import { readCounts, withSession } from './session.ts';

test('a run begins with a small batch, unless all of them are small', () => {
  expect([1, 100, 10_000, 20_000, 100_000, 1_000_000].map(firstBatchRecords)).toEqual([
    1, 100, 10_000, 10_000, 25_000, 250_000,
  ]);
});

test('batches that are gathered for a step over all records are all whole, since a later taking knows them by their ends', async () => {
  const csv = `n\n${Array.from({ length: 50_000 }, (_each, at) => String(at)).join('\n')}\n`;
  const definition = { ...definitionOf('a', { type: 'csv' }), batch: { records: 20_000 } };
  const read = async (session: BatchSession): Promise<number[]> => {
    const { ranges } = await session.survey();
    await session.start(ranges[0] as Range, null);
    return readCounts(session);
  };
  const job = { stage: 'TRANSFORM', gathers: 0 } as const;
  expect(await withSession(csv, definition, null, read, job)).toEqual([20_000, 20_000, 10_000]);
});

test('the other batches, ranges and takings of a run are whole', async () => {
  const csv = `n\n${Array.from({ length: 130_000 }, (_each, at) => String(at)).join('\n')}\n`;
  const definition = { ...definitionOf('a', { type: 'csv' }), batch: { records: 20_000 } };
  await withSession(csv, definition, null, async (session) => {
    const { ranges } = await session.survey();
    const [first, second] = ranges as [Range, Range];
    expect(ranges.map(({ records }) => records)).toEqual([100_000, 30_000]);

    await session.start(first, null);
    const { cursor, recordsRead } = await session.next();
    expect(recordsRead).toBe(10_000);
    expect((await session.next()).recordsRead).toBe(20_000);

    await session.start(first, cursor);
    expect(await readCounts(session)).toEqual([20_000, 20_000, 20_000, 20_000, 10_000]);
    await session.start(second, null);
    expect(await readCounts(session)).toEqual([20_000, 10_000]);
    // Made again, a range is cut at the same places.
    await session.start(first, null);
    expect(await readCounts(session)).toEqual([10_000, 20_000, 20_000, 20_000, 20_000, 10_000]);
  });
});
