import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonSplitter, JsonStructureError, LineSplitter } from '../../../src/etl/ingest/json-splitter.ts';
import { withFile } from './temp-file.ts';

interface Seen {
  text: string;
  depth: number;
  /** Where a splitter can go on with this record. */
  from: number;
}

function elements(text: string, pointer: string, blockBytes?: number): Seen[] {
  return withFile(Buffer.from(text), (file, size) => {
    const splitter = new JsonSplitter(file, { start: 0, end: size }, blockBytes === undefined ? {} : { blockBytes });
    const open = splitter.enter(pointer);
    const seen = drain(splitter, true);
    splitter.finish(open);
    return seen;
  });
}

function drain(splitter: JsonSplitter, fromBeginning: boolean): Seen[] {
  const seen: Seen[] = [];
  for (
    let from = splitter.nextOffset, first = fromBeginning;
    splitter.next(first);
    from = splitter.nextOffset, first = false
  ) {
    seen.push({ text: splitter.buffer.toString('utf8', splitter.start, splitter.end), depth: splitter.depth, from });
  }
  return seen;
}

const spaces = fc.constantFrom(0, 1, 2, '\t');
const blocks = fc.integer({ min: 1, max: 30 });

describe('the JSON splitter', () => {
  test('finds the elements that JSON.parse finds, under any pointer, spacing and block size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue()),
        fc.jsonValue(),
        fc.jsonValue(),
        spaces,
        blocks,
        (records, before, after, space, blockBytes) => {
          const document = { before, 'a/b~c "é"': { list: [before, records] }, after };
          const seen = elements(JSON.stringify(document, null, space), '/a~1b~0c "é"/list/1', blockBytes);
          expect(seen.map(({ text }) => JSON.parse(text) as unknown)).toEqual(JSON.parse(JSON.stringify(records)));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('goes on at any record', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { minLength: 1 }), spaces, fc.nat(), (records, space, pick) => {
        const text = JSON.stringify({ records }, null, space);
        const whole = elements(text, '/records');
        const at = pick % whole.length;
        const rest = withFile(Buffer.from(text), (file, size) => {
          return drain(new JsonSplitter(file, { start: whole[at]?.from ?? 0, end: size }), false);
        });
        expect(rest.map((each) => each.text)).toEqual(whole.slice(at).map((each) => each.text));
      }),
    );
  });

  test('measures how deep a record nests', () => {
    expect(
      elements(`[1, [[]], {"a": {"b": "[[["}}, ${'['.repeat(5000)}${']'.repeat(5000)}]`, '').map(({ depth }) => depth),
    ).toEqual([0, 2, 2, 5000]);
  });

  test.for([
    ['no array', '{"a": 1}', '/a', /array of records/],
    ['no such member', '{"a": 1}', '/b', /No member "b"/],
    ['a document that ends early', '{"a": [1, {"x": 2', '/a', /end of the document/],
    ['a document whose end is missing', '{"a": [1]', '/a', /closing bracket/],
    ['a missing comma', '[1 2]', '', /"," or "\]"/],
    ['a comma too many', '[1,]', '', /record after the comma/],
    ['a closing bracket too many', '{"a": [1]}}', '/a', /closing bracket/],
    ['nothing', '', '', /array of records/],
  ] as const)('refuses %s', ([, text, pointer, message]) => {
    expect(() => elements(text, pointer)).toThrow(message);
    expect(() => elements(text, pointer)).toThrow(JsonStructureError);
  });

  test('refuses a record that is longer than allowed, and passes by a sibling of any length', () => {
    const long = JSON.stringify({ skipped: 'x'.repeat(5000), list: ['y'.repeat(5000)] });
    withFile(Buffer.from(long), (file, size) => {
      const splitter = new JsonSplitter(file, { start: 0, end: size }, { maxBytes: 1000, blockBytes: 64 });
      splitter.enter('/list');
      expect(() => splitter.next(true)).toThrow(/at most 1000 bytes/);
    });
  });
});

describe('the line splitter', () => {
  test('finds the lines that String.split finds', () => {
    const line = fc.string({ unit: fc.constantFrom('a', 'é', ' ', '\t', '\r', '😀', '{') });
    fc.assert(
      fc.property(fc.array(line), blocks, fc.boolean(), (lines, blockBytes, ends) => {
        const text = lines.join('\n') + (ends ? '\n' : '');
        const found = withFile(Buffer.from(text), (file, size) => {
          const splitter = new LineSplitter(file, { start: 0, end: size }, { blockBytes });
          const seen: string[] = [];
          while (splitter.next()) seen.push(splitter.buffer.toString('utf8', splitter.start, splitter.end));
          return seen;
        });
        expect(found).toEqual(text.split('\n').filter((each) => each.trim() !== ''));
      }),
    );
  });

  test('stops at a line that is longer than allowed', () => {
    withFile(Buffer.from(`{}\n${'x'.repeat(5000)}\n{}`), (file, size) => {
      const splitter = new LineSplitter(file, { start: 0, end: size }, { maxBytes: 100, blockBytes: 64 });
      expect(splitter.next()).toBe(true);
      expect(splitter.tooLong).toBe(false);
      expect(splitter.next()).toBe(true);
      expect(splitter.tooLong).toBe(true);
      expect(splitter.next()).toBe(false);
    });
  });
});
