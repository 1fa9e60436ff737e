import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCsvFields } from '../../../src/etl/ingest/csv-fields.ts';
import { type CsvDialect, CsvSplitter, firstInvalidUtf8 } from '../../../src/etl/ingest/csv-splitter.ts';
import type { SplitLimits } from '../../../src/etl/ingest/byte-window.ts';
import { withFile } from './temp-file.ts';

interface Seen {
  text: string;
  offset: number;
  next: number;
  fields: number;
  fault: string | null;
}

const comma: CsvDialect = { delimiter: ',', quote: '"' };

function split(content: string | Uint8Array, dialect = comma, limits: SplitLimits = {}, start = 0): Seen[] {
  const bytes = typeof content === 'string' ? Buffer.from(content) : Buffer.from(content);
  return withFile(bytes, (file, size) => {
    const splitter = new CsvSplitter(file, { start, end: size }, dialect, limits);
    const seen: Seen[] = [];
    while (splitter.next()) {
      seen.push({
        text: splitter.buffer.toString('utf8', splitter.start, splitter.end),
        offset: splitter.offset,
        next: splitter.nextOffset,
        fields: splitter.fieldCount,
        fault: splitter.fault,
      });
    }
    return seen;
  });
}

/** An independent reader: characters, one state variable, no byte tricks. It does not judge; it finds ends and fields. */
function referenceRecords(text: string, { delimiter, quote }: CsvDialect): { text: string; fields: number }[] {
  const records: { text: string; fields: number }[] = [];
  let state: 'start' | 'plain' | 'quoted' | 'closed' = 'start';
  let current = '';
  let fields = 1;
  const end = (): void => {
    if (current !== '') records.push({ text: current, fields });
    current = '';
    fields = 1;
    state = 'start';
  };
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at] as string;
    if (state === 'quoted') {
      current += letter;
      if (letter === quote) state = 'closed';
    } else if (letter === '\n') {
      end();
    } else if (letter === '\r' && text[at + 1] === '\n') {
      end();
      at += 1;
    } else {
      current += letter;
      if (letter === delimiter) {
        fields += 1;
        state = 'start';
      } else if (letter === quote && (state === 'start' || state === 'closed') && quote !== null) {
        // Behind a closing quote it is the second half of an escaped one.
        state = 'quoted';
      } else state = 'plain';
    }
  }
  end();
  return records;
}

const letters = fc.constantFrom('"', ',', '\n', '\r\n', '\r', 'a', ' ', 'é', '日', '😀', ';', "'", '\t');
const wild = fc.array(letters, { maxLength: 60 }).map((parts) => parts.join(''));
const fieldText = fc
  .array(fc.constantFrom('"', ',', '\n', '\r\n', 'a', 'B', ' ', 'é', '日', '😀', '0'), { maxLength: 8 })
  .map((parts) => parts.join(''));

describe('the CSV splitter', () => {
  test('finds the records that were written, whatever their fields hold, at every block size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fieldText, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 8 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        fc.integer({ min: 1, max: 40 }),
        (records, lineEnd, endsWithLine, blockBytes) => {
          const line = (fields: string[]): string =>
            fields.map((field) => `"${field.replaceAll('"', '""')}"`).join(',');
          const lines = records.map(line);
          const text = lines.join(lineEnd) + (endsWithLine ? lineEnd : '');
          const seen = split(text, comma, { blockBytes });
          expect(seen.map((each) => each.text)).toEqual(lines);
          expect(seen.map((each) => each.fault)).toEqual(records.map(() => null));
          expect(seen.map((each) => parseCsvFields(each.text, comma))).toEqual(records);
          expect(seen.map((each) => each.fields)).toEqual(records.map((fields) => fields.length));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('agrees with an independent reader about any text at all', () => {
    fc.assert(
      fc.property(
        wild,
        fc.constantFrom<CsvDialect>(comma, { delimiter: ';', quote: "'" }, { delimiter: '\t', quote: null }),
        fc.integer({ min: 1, max: 20 }),
        (text, dialect, blockBytes) => {
          const seen = split(text, dialect, { blockBytes });
          const faultless = seen.every(({ fault }) => fault === null);
          if (faultless)
            expect(seen.map(({ text: found, fields }) => ({ text: found, fields }))).toEqual(
              referenceRecords(text, dialect),
            );
          // Faulty or not, no byte is lost: what lies between records is line ends.
          const bytes = Buffer.from(text);
          let at = 0;
          for (const record of seen) {
            expect(bytes.toString('utf8', at, record.offset)).toMatch(/^[\r\n]*$/);
            expect(bytes.toString('utf8', record.offset, record.offset + Buffer.byteLength(record.text))).toBe(
              record.text,
            );
            at = record.next;
          }
          expect(bytes.toString('utf8', at)).toMatch(/^[\r\n]*$/);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('skips records as if it had read them', () => {
    const dialects = fc.constantFrom<CsvDialect>(comma, { delimiter: ';', quote: null }, { ...comma, comment: 'a' });
    const limits = fc.record({ blockBytes: fc.integer({ min: 1, max: 40 }), maxBytes: fc.constantFrom(6, 1000) });
    fc.assert(
      fc.property(wild, dialects, limits, fc.array(fc.nat(3), { minLength: 1 }), (text, dialect, limit, counts) => {
        const whole = split(text, dialect, limit);
        withFile(Buffer.from(text), (file, size) => {
          const splitter = new CsvSplitter(file, { start: 0, end: size }, dialect, limit);
          let record = 0;
          for (let turn = 0; ; turn += 1) {
            const wanted = counts[turn % counts.length] ?? 0;
            const skipped = splitter.skip(wanted);
            expect(skipped).toBeLessThanOrEqual(wanted);
            for (const { fault } of whole.slice(record, record + skipped)) expect(fault).toBeNull();
            record += skipped;
            if (!splitter.next()) break;
            expect([splitter.offset, splitter.fault]).toEqual([whole[record]?.offset, whole[record]?.fault]);
            record += 1;
          }
          expect(record).toBe(whole.length);
        });
      }),
      { numRuns: 1_000 },
    );
  });

  test('skips plain lines without being asked for each', () => {
    withFile(Buffer.from('a,b\n'.repeat(100)), (file, size) => {
      const splitter = new CsvSplitter(file, { start: 0, end: size }, comma);
      splitter.next();
      expect(splitter.skip(200)).toBe(99);
    });
  });

  test('goes on from any record’s offset as if it had never stopped', () => {
    fc.assert(
      fc.property(wild, fc.nat(), (text, pick) => {
        const whole = split(text);
        if (whole.length === 0) return;
        const at = pick % whole.length;
        expect(split(text, comma, {}, whole[at]?.offset)).toEqual(whole.slice(at));
      }),
    );
  });

  test.for([
    ['a quote in the middle of a field', 'a"b,c\n', 'quote'],
    ['text behind a closing quote', '"a"b,c\n', 'quote'],
    ['a bare CR', 'a\rb,c\n', 'carriage-return'],
    ['a quote that never closes', 'a,"b\nc,d\n', 'unterminated'],
  ] as const)('blames %s', ([, text, fault]) => {
    expect(split(text)[0]?.fault).toBe(fault);
  });

  test('blames a NUL and broken UTF-8 on their own record only', () => {
    const bytes = Buffer.concat([Buffer.from('good,1\nnul\0,2\nbad '), Buffer.from([0xe9]), Buffer.from(',3\né,4\n')]);
    expect(split(bytes).map(({ fault }) => fault)).toEqual([null, 'nul', 'encoding', null]);
    expect(split(bytes, comma, { blockBytes: 3 }).map(({ fault }) => fault)).toEqual([null, 'nul', 'encoding', null]);
  });

  test('stops at a record that is longer than allowed, holding little more than that', () => {
    const line = Buffer.alloc(3_000_000, 'x');
    withFile(line, (file, size) => {
      const splitter = new CsvSplitter(file, { start: 0, end: size }, comma, { maxBytes: 1000, blockBytes: 512 });
      expect(splitter.next()).toBe(true);
      expect(splitter.fault).toBe('length');
      expect(splitter.next()).toBe(false);
      expect(splitter.buffer.length).toBeLessThan(10_000);
    });
  });

  test('counts no empty line', () => {
    expect(split('\n\r\na,b\n\n\nc,d\n\n').map(({ text }) => text)).toEqual(['a,b', 'c,d']);
  });

  test('finds the first byte that is no UTF-8', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 20 }),
        fc.constantFrom([0xff], [0xc3, 0x28], [0xe2, 0x82]),
        fc.string({ maxLength: 5 }),
        (good, bad, rest) => {
          const before = Buffer.from(good);
          const found = firstInvalidUtf8(
            Buffer.concat([before, Buffer.from(bad), Buffer.from(rest.replace(/[^a-z]/g, 'z') + 'z')]),
          );
          expect(found).toBeGreaterThanOrEqual(before.length);
          expect(found).toBeLessThan(before.length + bad.length + 1);
        },
      ),
    );
  });
});
