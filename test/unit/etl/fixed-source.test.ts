import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { runSession, withSession } from './session.ts';

const columns = [
  { name: 'id', start: 1, length: 3 },
  { name: 'name', start: 4, length: 4 },
  { name: 'on', start: 8, length: 10 },
];
const fixed = definitionOf('a', { type: 'fixed', columns });
const contract = contractOf(
  { id: { type: 'integer' }, name: { type: ['string', 'null'] }, on: { type: ['string', 'null'], format: 'date' } },
  { required: ['id'], additionalProperties: false },
);

describe('a fixed-width source', () => {
  test('gives typed cells, whatever the line ends', async () => {
    const { rows, survey } = await runSession(
      '  1Ann 2020-01-02\r\n 22    2020-01-03 and more\n333Zoë           ',
      fixed,
      contract,
    );
    expect(rows).toEqual([
      ['1', '1', 'Ann', '2020-01-02'],
      ['2', '22', null, '2020-01-03'],
      ['3', '333', 'Zoë', null],
    ]);
    expect(survey.columns.map(({ type }) => type)).toEqual(['bigint', 'text', 'date']);
  });

  test('keeps blanks before a text, commas and quotes', async () => {
    const { rows } = await runSession('  1 "a,2020-01-02\n', fixed, contract);
    expect(rows).toEqual([['1', '1', ' "a,', '2020-01-02']]);
  });

  test('skips a byte order mark and counts characters, not bytes', async () => {
    const { rows } = await runSession('\uFEFF001éèêë2020-01-02\n002日本語字2020-01-03\n', fixed, contract);
    expect(rows.map(([, , name]) => name)).toEqual(['éèêë', '日本語字']);
  });

  test('rejects short lines, other encodings and NUL one by one', async () => {
    const bytes = Buffer.concat([
      Buffer.from('001Ann 2020-01-02\n\n002Bob\n003'),
      Buffer.from([0xe9, 0x20]),
      Buffer.from('  2020-01-02   \n004Cy\0 2020-01-02\n00xDan 2020-01-02\n'),
    ]);
    const head = Buffer.from('001Ann 2020-01-02\n'.repeat(500));
    const { rows, rejected, survey } = await runSession(Buffer.concat([head, bytes]), fixed, contract);
    expect(survey.recordsTotal).toBe(506);
    expect(rows).toHaveLength(501);
    expect(rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.rule])).toEqual([
      [502, 'length'],
      [503, 'length'],
      [504, 'encoding'],
      [505, 'nul'],
      [506, 'type'],
    ]);
    expect(rejected[1]).toMatchObject({
      byteOffset: 9019,
      raw: '002Bob',
      reasons: [{ message: 'must have at least 17 characters, found 6 (byte 9019)' }],
    });
  });

  test('reads records without line ends by their length, from any cursor', async () => {
    const unbroken = definitionOf('a', { type: 'fixed', columns, recordLength: 20 }, { batch: { records: 2 } });
    const source = ['001Ann 2020-01-02   ', '002Bob 2020-01-03  \n', '003Cy  2020-01-04   '].join('');
    expect((await runSession(source, unbroken, contract)).rows.map(([, id]) => id)).toEqual(['1', '2', '3']);
    await withSession(source, unbroken, contract, async (session) => {
      const [range] = (await session.survey()).ranges;
      if (range === undefined) throw new Error('no range');
      await session.start(range, '{"offset":40,"record":2}');
      expect(await session.next()).toMatchObject({ recordsRead: 1, firstRecord: 3, goodCount: 1, last: true });
    });
    await expect(runSession(`${source}x`, unbroken, contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/3 records, and 1 bytes over at byte 60/) as string,
    });
  });

  test.each([
    [
      'two columns of one name',
      { columns: [...columns, { name: 'id', start: 1, length: 1 }] },
      contract,
      'INVALID_INPUT',
    ],
    ['a column beyond the record', { columns, recordLength: 10 }, contract, 'INVALID_INPUT'],
    ['a contract that requires another column', { columns: columns.slice(1) }, contract, 'SOURCE_INVALID'],
    [
      'a contract that allows fewer columns',
      { columns: [...columns, { name: 'z', start: 1, length: 1 }] },
      contract,
      'SOURCE_INVALID',
    ],
  ])('refuses %s', async (_what, format, document, code) => {
    const definition = definitionOf('a', { type: 'fixed', ...format });
    await expect(runSession('001Ann 2020-01-02\n', definition, document)).rejects.toMatchObject({ code });
  });

  test('ends the run at a line without an end', async () => {
    await expect(runSession(Buffer.alloc(9_000_000, 'a'), fixed, contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/Record 1 at byte 0 is longer than/) as string,
    });
  });
});
