import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contractOf, definitionOf, etlBench, type EtlBench, type EtlResult } from '../../../support/etl.ts';

/** CardDemo's files and their ASCII twins, which a second reader cuts by hand. */
const folder = join(import.meta.dirname, '../../../../../shared/data/mainframe');
const present = existsSync(folder);

const sets = {
  accounts: {
    ebcdic: 'AWS.M2.CARDDEMO.ACCTDATA.PS',
    copybook: 'CVACT01Y.cpy',
    twin: 'acctdata.txt',
    widths: [11, 1, 12, 12, 12, 10, 10, 10, 12, 12, 10, 10],
    money: [2, 3, 4, 8, 9],
    records: 50,
  },
  customers: {
    ebcdic: 'AWS.M2.CARDDEMO.CUSTDATA.PS',
    copybook: 'CVCUS01Y.cpy',
    twin: 'custdata.txt',
    widths: [9, 25, 25, 25, 50, 50, 50, 2, 3, 10, 15, 15, 9, 20, 10, 10, 1, 3],
    money: [],
    records: 50,
  },
  categories: {
    ebcdic: 'AWS.M2.CARDDEMO.TRANCATG.PS',
    copybook: 'CVTRA04Y.cpy',
    twin: 'trancatg.txt',
    widths: [2, 4, 50],
    money: [],
    records: 18,
  },
} as const;
type Set = (typeof sets)[keyof typeof sets];

const read = (...path: string[]): string => readFileSync(join(folder, ...path), 'latin1');

/** Every field as text; money from its overpunched digits. */
function twinRows({ twin, widths, money }: Set): (string | null)[][] {
  const lines = read('ascii', twin)
    .split(/\r?\n/)
    .filter((line) => line !== '');
  return lines.map((line) => {
    let at = 0;
    return widths.map((width, column) => {
      const text = line.slice(at, at + width);
      at += width;
      return (money as readonly number[]).includes(column) ? amount(text) : text.trimEnd() || null;
    });
  });
}

function amount(text: string): string {
  if (!text.endsWith('{')) throw new Error(`the twins hold no other sign: ${text}`);
  return `${BigInt(text.slice(0, -2))}.${text.slice(-2, -1)}0`;
}

// The title names what is missing where it is skipped.
describe.skipIf(!present)(`the CardDemo files${present ? '' : ` (not there: ${folder})`}`, { timeout: 60_000 }, () => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench({ root: join(folder, 'ebcdic') });
  });
  afterAll(() => bench.remove());

  /** The contract calls every number that is no money a text, so that the twin's digits can be compared as they stand. */
  async function decode(set: Set, codePage: string): Promise<EtlResult> {
    const copybook = read('copybooks', set.copybook);
    const names = [...copybook.matchAll(/^ {7}.*\s([A-Z0-9-]+)\s+PIC/gm)]
      .map(([, name]) => name ?? '')
      .filter((name) => name !== 'FILLER');
    const properties = Object.fromEntries(
      names.map((name, at) => [
        name,
        { type: (set.money as readonly number[]).includes(at) ? 'number' : ['string', 'null'] },
      ]),
    );
    const definition = definitionOf(set.ebcdic, { type: 'mainframe', copybook, codePage }, { batch: { records: 7 } });
    return bench.run(definition, contractOf(properties, { additionalProperties: false }));
  }

  const withoutNumber = (rows: EtlResult['rows']): (string | null)[][] => rows.map(([, ...values]) => values);

  test.each(['cp037', 'cp1047'])('of customers and categories equal their twins under %s', async (codePage) => {
    for (const set of [sets.customers, sets.categories]) {
      const { rows, read: count, rejected, steps } = await decode(set, codePage);
      expect(rejected).toEqual([]);
      expect(count).toBe(set.records);
      expect(steps.map(({ recordsIn, recordsOut }) => [recordsIn, recordsOut])).toEqual(
        steps.map(() => [set.records, set.records]),
      );
      expect(withoutNumber(rows)).toEqual(twinRows(set));
    }
  });

  test('of accounts differ from their twin in record 49 alone, and it is not corrected', async () => {
    const { rows, read: count, rejected, plan } = await decode(sets.accounts, 'cp037');
    expect([count, rejected.length]).toEqual([50, 0]);
    expect(plan.columns.filter(({ type }) => type === 'numeric')).toHaveLength(5);
    const twin = twinRows(sets.accounts);
    const drift = withoutNumber(rows).flatMap((row, at) =>
      row.flatMap((value, column) =>
        value === twin[at]?.[column] ? [] : [[at + 1, column, value, twin[at]?.[column]]],
      ),
    );
    expect(drift).toEqual([[49, 10, 'ZEROAPR', 'A000000000']]);
  });

  test('read by the copybook alone are typed', async () => {
    const copybook = read('copybooks', sets.categories.copybook);
    const { rows, plan } = await bench.run(definitionOf(sets.categories.ebcdic, { type: 'mainframe', copybook }), null);
    expect(plan.columns).toEqual([
      { name: 'tran_type_cd', type: 'text' },
      { name: 'tran_cat_cd', type: 'bigint' },
      { name: 'tran_cat_type_desc', type: 'text' },
    ]);
    expect(rows[0]).toEqual(['1', '01', '1', 'Regular Sales Draft']);
    expect(rows).toHaveLength(18);
  });

  test('the ASCII twins, read as fixed-width text, say the same', async () => {
    const ascii = await etlBench({ root: join(folder, 'ascii') });
    try {
      for (const set of [sets.accounts, sets.customers, sets.categories]) {
        let start = 1;
        const columns = set.widths.map((length, at) => {
          const column = { name: `c${at}`, start, length };
          start += length;
          return column;
        });
        const { rows, rejected } = await ascii.run(definitionOf(set.twin, { type: 'fixed', columns }), null);
        expect(rejected).toEqual([]);
        const expected = twinRows({ ...set, money: [] } as unknown as Set);
        expect(withoutNumber(rows)).toEqual(expected);
      }
    } finally {
      await ascii.remove();
    }
  });
});
