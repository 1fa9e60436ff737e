import { DuckDBDataChunk, VARCHAR } from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { longText, nullText, TextVector } from '../../../src/etl/duckdb/text-vector.ts';

const itemBytes = 16;

const chunkOf = (texts: readonly (string | null)[]): DuckDBDataChunk => {
  const chunk = DuckDBDataChunk.create([VARCHAR], texts.length);
  chunk.setColumnValues(0, texts);
  return chunk;
};

/** The same texts in another order, and some of them twice: each item leads to where the first chunk keeps its text. */
function arranged(chunk: DuckDBDataChunk, order: readonly number[]): DuckDBDataChunk {
  const items = duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk.chunk, 0), chunk.rowCount * itemBytes);
  const moved = new Uint8Array(order.length * itemBytes);
  for (const [at, from] of order.entries())
    moved.set(items.subarray(from * itemBytes, (from + 1) * itemBytes), at * itemBytes);
  const other = DuckDBDataChunk.create([VARCHAR], order.length);
  const vector = duckdb.data_chunk_get_vector(other.chunk, 0);
  duckdb.copy_data_to_vector(vector, 0, moved.buffer, 0, moved.length);
  return other;
}

function textsOf(chunk: DuckDBDataChunk, texts = new TextVector()): (string | number)[] {
  texts.read(duckdb.data_chunk_get_vector(chunk.chunk, 0), chunk.rowCount);
  return Array.from({ length: chunk.rowCount }, (_each, row) => {
    const start = texts.starts[row] as number;
    if (start < 0) return start;
    return Buffer.from(texts.sources[texts.sourceOf[row] as number] as Uint8Array).toString(
      'utf8',
      start,
      texts.ends[row],
    );
  });
}

test('texts are read in whatever order they lie, also those that lie at the same place', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.string({ minLength: 13, maxLength: 90, unit: 'grapheme' }),
    fc.integer({ min: 100, max: 4_000 }).map((length) => 'long '.repeat(length / 5)),
  );
  const texts = new TextVector();
  fc.assert(
    fc.property(
      fc.array(text, { minLength: 1, maxLength: 60 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 200 }),
      (written, places) => {
        const order = places.map((place) => place % written.length);
        const first = chunkOf(written);
        expect(textsOf(arranged(first, order), texts)).toEqual(order.map((at) => written[at]));
        // Until here, so that what the items lead to is kept.
        expect(textsOf(first, texts)).toEqual(written);
      },
    ),
    { numRuns: 300 },
  );
});

test('nulls and texts of more than 8 KiB are told apart from texts', () => {
  const chunk = chunkOf([null, '', 'x'.repeat(8_192), 'x'.repeat(8_193), null, 'é'.repeat(4_097)]);
  expect(textsOf(chunk)).toEqual([nullText, '', 'x'.repeat(8_192), longText, nullText, longText]);
});
