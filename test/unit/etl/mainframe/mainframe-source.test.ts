import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../../support/etl.ts';
import { runSession, withSession } from '../session.ts';
import { binary, ebcdic, packed, withDescriptor } from './encode.ts';

const copybook = '01 R. 05 ACCT-ID PIC 9(5). 05 AMOUNT PIC S9(3)V99 COMP-3. 05 NAME PIC X(6).';
const definition = definitionOf('a', { type: 'mainframe', copybook });
const record = (id: string, cents: string, name: string): Buffer =>
  Buffer.concat([ebcdic(id), packed({ digits: cents, negative: false }, true), ebcdic(name.padEnd(6))]);
const contract = contractOf(
  {
    acct_id: { type: 'string', pattern: '^[0-9]{5}$' },
    amount: { type: 'number', maximum: 500 },
    name: { type: 'string', enum: ['Ann', 'Bob'] },
  },
  { required: ['acct_id', 'amount', 'name'], additionalProperties: false },
);

describe('a mainframe source', () => {
  test('gives exact numbers, texts without padding, and identifiers with their zeros', async () => {
    const { rows, survey } = await runSession(record('00042', '01250', 'Ann'), definition, contract);
    expect(rows).toEqual([['1', '00042', '12.50', 'Ann']]);
    expect(survey.columns).toEqual([
      { name: 'acct_id', type: 'text' },
      { name: 'amount', type: 'numeric' },
      { name: 'name', type: 'text' },
    ]);
  });

  test('rejects what the contract refuses, and what is not what its picture says, naming the byte', async () => {
    const bad = record('00003', '00100', 'Ann');
    bad[6] = 0xee;
    bad[1] = 0x40;
    const source = Buffer.concat([record('00001', '50001', 'Cy'), record('00002', '00100', 'Bob'), bad]);
    const { rows, rejected, batches } = await runSession(source, definition, contract);
    expect(rows).toEqual([['2', '00002', '1.00', 'Bob']]);
    expect(rejected).toMatchObject([
      {
        recordNo: 1,
        byteOffset: 0,
        reasons: [
          { path: '/amount', rule: 'maximum', message: 'must be at most 500, found 500.01' },
          { path: '/name', rule: 'enum', message: 'must be one of "Ann", "Bob", found "Cy"' },
        ],
      },
      {
        recordNo: 3,
        byteOffset: 28,
        raw: 'X"F040F0F0F300EE0CC19595404040"',
        reasons: [
          {
            path: '/acct_id',
            rule: 'picture',
            message:
              'ACCT-ID must be zoned decimal of 5 digits without sign, found X"40" at byte 29 (byte 2 of the record)',
          },
          {
            path: '/amount',
            rule: 'picture',
            message: 'AMOUNT must be packed decimal of 5 digits, found X"EE" at byte 34 (byte 7 of the record)',
          },
        ],
      },
    ]);
    expect(batches[0]?.steps[0]).toMatchObject({ step: 'read', recordsIn: 3, recordsRejected: 1 });
  });

  test('of a length that records do not divide is refused, naming the byte', async () => {
    const source = Buffer.concat([record('00001', '00100', 'Ann'), Buffer.alloc(5)]);
    await expect(runSession(source, definition, contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(
        /records of 14 bytes, found 19 bytes: 1 records, and 5 bytes over at byte 14/,
      ) as string,
    });
    await expect(runSession('', definition, contract)).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  });

  test('goes on from any cursor', async () => {
    const source = Buffer.concat(Array.from({ length: 10 }, (_each, at) => record(`0000${at}`, '00100', 'Ann')));
    const whole = await runSession(source, definition, contract);
    await withSession(source, { ...definition, batch: { records: 4 } }, contract, async (session) => {
      const { ranges } = await session.survey();
      const [range] = ranges;
      if (range === undefined) throw new Error('no range');
      await session.start(range, null);
      const first = await session.next();
      expect(first.cursor).toBe('{"offset":56,"record":4}');
      await session.start(range, first.cursor);
      const second = await session.next();
      const third = await session.next();
      expect([first.goodCount, second.goodCount, third.goodCount, third.last]).toEqual([4, 4, 2, true]);
      expect([second.firstRecord, third.lastRecord, second.bytesRead]).toEqual([5, 10, 56]);
    });
    expect(whole.rows).toHaveLength(10);
  });

  test('takes blanks and low values at the end for padding, and refuses low values elsewhere', async () => {
    const three = definitionOf('a', { type: 'mainframe', copybook: '01 R. 05 A PIC X(3).' });
    const source = Buffer.from('c10000' + '000000' + '404040' + 'c100c1', 'hex');
    const { rows, rejected } = await runSession(source, three, null);
    expect(rows).toEqual([
      ['1', 'A'],
      ['2', null],
      ['3', null],
    ]);
    expect(rejected[0]?.reasons[0]?.message).toContain('found X"00" at byte 10 (byte 2 of the record)');
  });

  test.each([
    ['packed, no digit', 'PIC 9(3) COMP-3', 'fa1f', 0],
    ['packed, blanks', 'PIC 9(3) COMP-3', '4040', 1],
    ['packed, no sign', 'PIC S9(3) COMP-3', '1231', 1],
    ['packed, a minus without S', 'PIC 9(3) COMP-3', '123d', 1],
    ['packed, a digit that the picture hides', 'PIC S9(2) COMP-3', '123c', 0],
    ['zoned, a minus without S', 'PIC 9(2)', 'f1d2', 1],
    ['zoned, a sign in the wrong digit', 'PIC S9(2)', 'c1f2', 0],
    ['zoned, no digit under the sign', 'PIC S9(2)', 'f1cf', 1],
    ['a separate sign that is none', 'PIC S9 SIGN TRAILING SEPARATE', 'f140', 1],
    ['blanks without BLANK WHEN ZERO', 'PIC 99', '4040', 0],
    ['binary beyond its picture', 'PIC 9(4) COMP', '2710', 0],
  ])('rejects %s', async (_what, picture, hex, at) => {
    const bad = definitionOf('a', { type: 'mainframe', copybook: `01 R. 05 A ${picture}.` });
    const { rejected } = await runSession(Buffer.from(hex, 'hex'), bad, null);
    expect(rejected[0]?.reasons[0]?.message).toContain(`at byte ${at} (`);
  });

  test('reads blanks as zero where BLANK WHEN ZERO says so', async () => {
    const blank = definitionOf('a', { type: 'mainframe', copybook: '01 R. 05 A PIC 9(3) BLANK WHEN ZERO.' });
    expect((await runSession(Buffer.from('404040f0f0f7', 'hex'), blank, null)).rows).toEqual([
      ['1', '0'],
      ['2', '7'],
    ]);
  });

  test('decodes by the code page that is declared', async () => {
    const text = (codePage: string) =>
      runSession(
        Buffer.from('ad9fbabbbd', 'hex'),
        definitionOf('a', { type: 'mainframe', copybook: '01 R. 05 A PIC X(5).', codePage }),
        null,
      ).then(({ rows }) => rows[0]?.[1]);
    expect(await text('cp037')).toBe('Ý¤[]¨');
    expect(await text('cp500')).toBe('Ý¤¬|¨');
    expect(await text('cp1047')).toBe('[¤Ý¨]');
    expect(await text('cp1140')).toBe('Ý€[]¨');
    await expect(text('cp273')).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('takes the view of redefined bytes that the contract names', async () => {
    const views = '01 R. 05 RAW PIC X(4). 05 SPLIT REDEFINES RAW. 10 YEAR PIC 9(2). 10 REST PIC X(2).';
    const { rows } = await runSession(
      ebcdic('26ab'),
      definitionOf('a', { type: 'mainframe', copybook: views }),
      contractOf({ YEAR: { type: 'integer' }, rest: { type: 'string' } }, { additionalProperties: false }),
    );
    expect(rows).toEqual([['1', '26', 'ab']]);
  });

  test('refuses a contract that does not fit the copybook', async () => {
    const more = contractOf({ other: { type: 'string' } }, { required: ['other'] });
    await expect(runSession(ebcdic('26ab'), definition, more)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/requires "other", which the copybook does not name/) as string,
    });
    const fewer = contractOf({ name: { type: 'string' } }, { additionalProperties: false });
    await expect(runSession(ebcdic('26ab'), definition, fewer)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(/names "ACCT-ID", "AMOUNT", which the contract does not allow/) as string,
    });
  });
});

describe('records of variable length', () => {
  const varying = definitionOf('a', {
    type: 'mainframe',
    records: 'variable',
    copybook:
      '01 R. 05 N PIC 9(2) COMP. 05 T OCCURS 0 TO 3 TIMES DEPENDING ON N. 10 A PIC S9(3) COMP-3. 05 Z PIC X(2).',
  });
  const made = (count: number, elements: readonly string[], end: string): Buffer =>
    withDescriptor(
      Buffer.concat([
        binary({ digits: String(count), negative: false }, 2),
        ...elements.map((digits) => packed({ digits, negative: true }, true)),
        ebcdic(end),
      ]),
    );

  test('have as many elements as their counter says, and the rest absent', async () => {
    const source = Buffer.concat([made(0, [], 'aa'), made(3, ['001', '002', '003'], 'bb'), made(1, ['999'], 'cc')]);
    const { rows, survey } = await runSession(source, { ...varying, batch: { records: 2 } }, null);
    expect(rows).toEqual([
      ['1', '0', null, null, null, 'aa'],
      ['2', '3', '-1', '-2', '-3', 'bb'],
      ['3', '1', '-999', null, null, 'cc'],
    ]);
    expect(survey.recordsTotal).toBe(3);
  });

  test('are rejected where counter and length do not agree', async () => {
    const source = Buffer.concat([made(2, ['001'], 'aa'), made(4, [], 'aa'), made(1, ['001'], 'bb')]);
    const { rows, rejected } = await runSession(source, varying, null);
    expect(rows).toEqual([['3', '1', '-1', null, null, 'bb']]);
    expect(rejected.map(({ recordNo, byteOffset, reasons }) => [recordNo, byteOffset, reasons[0]?.message])).toEqual([
      [1, 0, 'must be 8 bytes long by the copybook, found 6 (byte 0)'],
      [2, 10, 'must be 0 to 3, the elements of its table, found 4 (byte 14)'],
    ]);
  });

  test.each([
    ['a length that promises more than there is', '00200000c1', /byte 0 the record descriptor word promises 32 bytes/],
    ['a spanned record', '00060100c1c2', /byte 2 expected a record descriptor word that ends with two zero bytes/],
    ['an empty record', '00040000', /byte 0 expected a record descriptor word with a length of 5 or more, found 4/],
    ['half a descriptor word', '0006', /byte 0 the source ends within a record descriptor word/],
  ])('%s ends the run, naming the byte', async (_what, hex, message) => {
    const good = made(0, [], 'aa');
    await expect(runSession(Buffer.from(hex, 'hex'), varying, null)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
    await expect(runSession(Buffer.concat([good, Buffer.from(hex, 'hex')]), varying, null)).rejects.toMatchObject({
      message: expect.stringMatching(/^Record 2 cannot be read/) as string,
    });
  });
});

describe('records in blocks', () => {
  const copybook = '01 R. 05 K PIC 9(3). 05 T PIC X(5).';
  const inBlocks = (records: 'blocked' | 'spanned') => definitionOf('a', { type: 'mainframe', records, copybook });
  /** A record, or a part of one: 1 the first, 3 one between, 2 the last. */
  const segment = (text: string, part = 0): Buffer => {
    const found = withDescriptor(ebcdic(text));
    found[2] = part;
    return found;
  };
  const block = (...segments: Buffer[]): Buffer => withDescriptor(Buffer.concat(segments));
  const large = (...segments: Buffer[]): Buffer => {
    const content = Buffer.concat(segments);
    const word = Buffer.alloc(4);
    word.writeUInt32BE(0x80_00_00_00 + content.length + 4);
    return Buffer.concat([word, content]);
  };
  const three = [block(segment('001aaaaa'), segment('002bbbbb')), large(segment('003ccccc'))];

  test('are read whole, whatever batch and block they fall in', async () => {
    for (const records of [1, 2, 100]) {
      const { rows, survey, batches } = await runSession(
        Buffer.concat(three),
        { ...inBlocks('blocked'), batch: { records } },
        null,
      );
      expect(rows).toEqual([
        ['1', '1', 'aaaaa'],
        ['2', '2', 'bbbbb'],
        ['3', '3', 'ccccc'],
      ]);
      expect(survey.recordsTotal).toBe(3);
      expect(batches.reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBeGreaterThan(0);
    }
  });

  test('may be spanned, and are rejected by the place of their own bytes', async () => {
    const source = Buffer.concat([
      block(segment('001aaaaa'), segment('00', 1)),
      block(segment('2b', 3)),
      block(segment('bbbb', 2), segment('x', 1)),
      block(segment('03ccccc', 2), segment('004ddddd')),
    ]);
    for (const records of [1, 2, 100]) {
      const { rows, rejected } = await runSession(source, { ...inBlocks('spanned'), batch: { records } }, null);
      expect(rows).toEqual([
        ['1', '1', 'aaaaa'],
        ['2', '2', 'bbbbb'],
        ['4', '4', 'ddddd'],
      ]);
      expect(rejected.map(({ recordNo, byteOffset, raw }) => [recordNo, byteOffset, raw])).toEqual([
        [3, 44, 'x03ccccc'],
      ]);
      expect(rejected[0]?.reasons[0]?.message).toMatch(/byte 48/);
    }
  });

  test.each([
    [
      'a block that promises more than there is',
      'blocked',
      '00200000',
      /promises 32 bytes, but the source ends before/,
    ],
    ['half a block descriptor word', 'blocked', '0006', /ends within a block descriptor word/],
    ['a block of nothing', 'blocked', '00040000', /expected a block of more than 4 bytes, found 4/],
    ['a block that is no block', 'blocked', '00080001c1c1c1c1', /ends with two zero bytes/],
    ['a block that is too large', 'blocked', 'ff000000', /is longer than 16777216 bytes/],
    [
      'a record that leaves its block',
      'blocked',
      '000a00000020000000f1',
      /promises 32 bytes, but its block ends before/,
    ],
    ['an empty record', 'blocked', '0008000000040000', /a length of 5 or more, found 4/],
    ['half a record descriptor word', 'blocked', '000600000006', /the block ends within a record descriptor word/],
    ['a part where none may be', 'blocked', '0009000000050100f0', /records in parts are "spanned"/],
    ['a part that is none', 'spanned', '0009000000050400f0', /a part of 0 to 3 and a zero byte/],
    ['a last part without a first', 'spanned', '0009000000050200f0', /found a later part of one/],
    ['a first part without a last', 'spanned', '0009000000050100f0', /ends before the last part/],
    ['a first part after a first', 'spanned', '000e000000050100f000050000f0', /found the beginning of another/],
  ] as const)('%s ends the run', async (_what, records, hex, message) => {
    await expect(
      runSession(Buffer.concat([...three, Buffer.from(hex, 'hex')]), inBlocks(records), null),
    ).rejects.toMatchObject({ code: 'SOURCE_INVALID', message: expect.stringMatching(message) as string });
  });
});
