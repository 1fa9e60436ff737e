import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { patternAutomaton } from '../../../src/etl/sure/pattern-automaton.ts';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { bothWays } from './both-ways.ts';
import { withSession } from './session.ts';

const wide = contractOf(
  {
    id: { type: 'integer', minimum: -5, exclusiveMaximum: 1000 },
    amount: { type: 'number', minimum: 0.1, maximum: 1e6 },
    kind: { type: 'string', enum: ['new', 'old', 'très'] },
    code: { type: ['string', 'null'], pattern: '^[A-Z]{2}-\\d+$' },
    day: { type: 'string', format: 'date' },
    at: { type: 'string', format: 'date-time' },
    local: { type: 'string', format: 'local-date-time' },
    flag: { type: 'boolean' },
    note: { type: 'string', minLength: 2, maxLength: 6 },
  },
  { required: ['id', 'amount'], additionalProperties: false },
);

const torture: Record<string, readonly string[]> = {
  id: ['0', '-5', '-6', '999', '1000', '007', '-0', '+1', '1.0', '1e2', '', ' 1', '99999999999999999999', '½', 'x'],
  amount: [
    '0.1',
    '.1',
    '0.10',
    '1000000',
    '1000000.0000001',
    '123456789012345678',
    '1e3',
    '0.',
    '-0.0',
    '5',
    'NaN',
    '',
  ],
  kind: ['new', 'old', 'très', 'New', 'ne', 'newer', ''],
  code: ['AB-1', 'AB-12345', 'ab-1', 'AB-', 'AB-1 ', 'AB-١', ''],
  day: [
    '2024-02-29',
    '2023-02-29',
    '1900-02-29',
    '2000-02-29',
    '0001-01-01',
    '9999-12-31',
    '2024-13-01',
    '2024-1-1',
    '',
  ],
  at: [
    '2024-01-01T00:00:00Z',
    '2024-01-01T23:59:60Z',
    '2024-01-01T00:00:00.123456Z',
    '2024-01-01t00:00:00z',
    '2024-01-01T00:00:00+05:30',
    '',
  ],
  local: [
    '2024-01-01T00:00:00',
    '2024-01-01T00:00:00.5',
    '2024-01-01T24:00:00',
    '2024-01-01 00:00:00',
    '2024-01-01T00:00:00.1234567',
    '',
  ],
  flag: ['true', 'false', 'TRUE', '1', 'truee', ''],
  note: ['ab', 'a', 'abcdef', 'abcdefg', 'é', 'éé', '😀', '😀😀', 'ééééééé', 'a b', ' ', ''],
};
const usual: Record<string, string> = {
  id: '1',
  amount: '2.50',
  kind: 'new',
  code: 'AB-1',
  day: '2024-01-31',
  at: '2024-01-01T00:00:00Z',
  local: '2024-01-01T00:00:00',
  flag: 'true',
  note: 'text',
};
const names = Object.keys(usual);
/** A usual record with one value after the other in place of its own. */
const records = names.flatMap((name) => (torture[name] ?? []).map((value) => ({ ...usual, [name]: value })));

describe('records that are surely good', () => {
  test('of delimited text are those that SQL accepts, with the same values, in their order', async () => {
    const lines = records.map((record: Record<string, string>) => names.map((name) => record[name]).join(','));
    const quoted = lines.map((line) => `${line.slice(0, line.lastIndexOf(','))},"a ""b"""`);
    const content = [names.join(','), ...lines.flatMap((line, at) => [line, quoted[at] as string])].join('\r\n');
    const { sure, long } = await bothWays(content, { type: 'csv' }, wide);
    expect(sure.rows.length).toBeGreaterThan(lines.length);
    expect(sure.made.length).toBeGreaterThan(20);
    expect(long.made).toEqual([]);
  });

  test('of delimited text may be quoted', async () => {
    const quote = (value: string): string => `"${value.replaceAll('"', '""')}"`;
    const lines = records.map((record: Record<string, string>) =>
      names.map((name) => quote(record[name] ?? '')).join(','),
    );
    const { sure } = await bothWays([names.join(','), ...lines, ''].join('\n'), { type: 'csv' }, wide);
    expect(sure.made.length).toBeGreaterThan(sure.rows.length / 2);
    const texts = contractOf(
      {
        id: { type: 'integer' },
        note: { type: 'string', maxLength: 8 },
        choice: { type: 'string', enum: ['a""b', 'c"d', 'ok'] },
        long: { type: 'string', minLength: 3 },
      },
      {},
    );
    const values = [
      '',
      'ok',
      '"',
      '""',
      'a,b',
      'a""b',
      'c"d',
      'a"b',
      'a\nb',
      'a\rb',
      'é,é',
      'ééé',
      '12345678',
      '123"5678',
      '\\.',
    ];
    const all = values.flatMap((note) => values.map((other) => [note, other]));
    const content = all.map(([note = '', other = ''], at) =>
      [String(at), quote(note), quote(other), quote(at % 2 ? note : other)].join(','),
    );
    const loose = [
      '7,"",,',
      '7,a"b,ok,abc',
      '7,"ab"c,ok,abc',
      '7,"a" ,ok,abc',
      '"7",ab,"ok","abc"',
      '7,"ab","ok","abc',
    ];
    await bothWays(['id,note,choice,long', ...content, ...loose.slice(0, -1)].join('\r\n'), { type: 'csv' }, texts);
  });

  test('of delimited text are taken across the ends of what is read at once, and with a record that has no line end', async () => {
    const line = (at: number): string => `${String(at)},"text ""${'x'.repeat(at % 90)}"", more",2.50`;
    const content = `id,note,amount\n${Array.from({ length: 40_000 }, (_each, at) => line(at)).join('\n')}`;
    const open = contractOf({ id: { type: 'integer' }, note: { type: 'string' }, amount: { type: 'number' } }, {});
    const { sure } = await bothWays(content, { type: 'csv' }, open);
    // The last one alone, and no one else, is another's.
    expect(sure.made).toEqual(Array.from({ length: 39_999 }, (_each, at) => at + 1));
  });

  test.each([
    [
      'columns in another order, and columns that the contract leaves open',
      'note,x,id\nab,1,5\n"a,b",2,6\nabcdefgh,3,7\n,,8\n',
      { type: 'csv' },
      [1, 2, 4],
    ],
    [
      'other delimiters, with commas and quotes that are text',
      'id;note\n1;a,b\n2;"a;b"\n3;ab\n4;abcdefg\n',
      { type: 'csv', delimiter: ';' },
      [1, 2, 3],
    ],
    ['no quotes at all', 'id\tnote\n1\ta"b\n2\ta,b\n3\t"ab"\n', { type: 'tsv', quote: null }, [1, 2, 3]],
    ['no quotes between commas', 'id,note\n1,a"b\n2,"ab"\n3,a"b"\n4,ab\n', { type: 'csv', quote: null }, [1, 2, 3, 4]],
    ['another quote', 'id,note\n1,a"b\n2,\'a,b\'\n3,"ab"\n4,ab\n', { type: 'csv', quote: "'" }, [1, 2, 3, 4]],
    ['escaped quotes', 'id,note\n1,"a\\"b"\n2,ab\n', { type: 'csv', escape: '\\' }, []],
    ['fields too many and too few', 'id,note\n1,ab\n2\n3,ab,c\n4,ab\n', { type: 'csv' }, [1, 4]],
    [
      'bytes that are no UTF-8, and NUL',
      Buffer.from(`id,note\n${'0,text\n'.repeat(1_500)}1,\xff\xff\n2,\xc3\xa9\xc3\xa9\n3,a\0b\n4,ab`, 'latin1'),
      { type: 'csv' },
      null,
    ],
  ] as const)('of delimited text with %s are the same as by SQL', async (_case, content, format, made) => {
    const open = contractOf({ id: { type: 'integer' }, note: { type: 'string', minLength: 2, maxLength: 6 } }, {});
    const { sure } = await bothWays(content, format, open);
    if (made !== null) expect(sure.made).toEqual(made);
  });

  test('are none where a field may have no text at all, and the fields around it are judged as ever', async () => {
    const { sure } = await bothWays(
      'note,nothing,id\n"",,1\n"""",,2\nab,x,3\n"",x,4\nab,"",5\nab,,x\n',
      { type: 'csv' },
      contractOf(
        { note: { type: 'string' }, nothing: { type: ['string', 'null'], enum: [null] }, id: { type: 'integer' } },
        {},
      ),
    );
    expect(sure.rejected.map(({ recordNo }) => recordNo)).toEqual([3, 4, 6]);
    const lines = ['null', '"x"', '""', '7', 'true'].map((value, at) => `{"id":${String(at)},"nothing":${value}}`);
    const { sure: documents } = await bothWays(
      lines.join('\n'),
      { type: 'ndjson' },
      contractOf({ id: { type: 'integer' }, nothing: { type: ['string', 'null'], enum: [null], maxLength: 9 } }, {}),
    );
    expect(documents.rejected.map(({ recordNo }) => recordNo)).toEqual([2, 3, 4, 5]);
  });

  test('without a contract are the text that stands there', async () => {
    const { sure } = await bothWays('a,b\n1,\n,"x\n""y"""\n\\.,é\n', { type: 'csv' }, null);
    expect(sure.rows).toEqual([
      ['1', '1', null],
      ['2', null, 'x\n"y"'],
      ['3', '\\.', 'é'],
    ]);
  });

  test('of JSON are those that Ajv and SQL accept, with the same values', async () => {
    const bare = new Set(['id', 'amount', 'flag']);
    const line = (record: Record<string, string>): string =>
      `{${names.map((name) => `"${name}": ${bare.has(name) && record[name] !== '' ? record[name] : JSON.stringify(record[name])}`).join(', ')}}`;
    const flat = '{"id":1,"amount":2.50';
    const others = [
      ...[`${flat}}`, `${flat},"note":null}`, `${flat},"code":null}`, `${flat},"code":nul}`, `${flat},"code":nullx}`],
      ...[
        `${flat},"note":"a\\u0062"}`,
        `${flat},"note":"a\\tb"}`,
        `${flat},"note":"a\\"b"}`,
        `${flat},"note":"a\tb"}`,
        `${flat},"note":"a,b"}`,
        `${flat},"note":7}`,
      ],
      ...[
        `${flat},"id":2}`,
        `${flat},"more":1}`,
        `${flat},}`,
        `${flat}`,
        `${flat}} x`,
        `{"id":1}`,
        '{}',
        '[]',
        '7',
        'null',
      ],
      ...[`${flat},"note":{"a":1}}`, `${flat},"note":["ab"]}`, `${flat},"flag":"true"}`, '{"amount":2.50,"id":"1"}'],
      ...[
        `{ "note" :"ab" , "amount":2.50,\t"id" : 3 } `,
        '{"amount":1E2,"id":1}',
        '{"amount":01,"id":1}',
        '{"id":1,"amount":2.5"note":"ab"}',
      ],
    ];
    const content = Buffer.concat([
      Buffer.from([...records.map(line), ...others, ''].join('\n')),
      Buffer.from(`${flat},"note":"\xff\xff"}\n${flat},"note":"\xc3\xa9\xc3\xa9"}\n`, 'latin1'),
    ]);
    const { sure, long } = await bothWays(content, { type: 'ndjson' }, wide);
    expect(sure.made.length).toBeGreaterThan(20);
    expect(long.made).toEqual([]);
  });

  test('of JSON may be written alike, and then in another way', async () => {
    const open = contractOf(
      {
        id: { type: 'integer' },
        note: { type: ['string', 'null'], maxLength: 6 },
        kind: { type: 'string', enum: ['a\\b', 'ab'] },
        amount: { type: 'number' },
      },
      { additionalProperties: false },
    );
    const notes = [
      ...[
        '"ab"',
        'null',
        '""',
        '"a\\"b"',
        '"\\\\\\""',
        '"\\/"',
        '"\\n"',
        '"\\u0041"',
        '"é"',
        '"abcdefg"',
        '"a,}"',
        '"\\\\\\\\\\\\\\\\"',
      ],
      ...['7', 'nul', 'nullx', '"a', '"a"b"', '"a" ', '', 'true', '{"a":1}', '"\\'],
    ];
    const ways = [
      (at: number, note: string, kind: string): string =>
        `{"id":${String(at)},"note":${note},"kind":${kind},"amount":2.50}`,
      (at: number, note: string, kind: string): string =>
        `{ "id": ${String(at)}, "note": ${note}, "kind": ${kind}, "amount": 2.50 }`,
      (at: number, note: string, kind: string): string =>
        `{"note":${note},"amount":2.50,"id":${String(at)},"kind":${kind}}`,
      (at: number, note: string): string => `{"id":${String(at)},"note":${note}}`,
    ];
    const lines = ways.flatMap((way, turn) =>
      Array.from({ length: 200 }, (_each, at) =>
        way(turn * 200 + at, notes[at % notes.length] as string, at % 5 ? '"ab"' : '"a\\\\b"'),
      ),
    );
    const { sure } = await bothWays(lines.join('\n'), { type: 'ndjson' }, open);
    expect(sure.made.some((record) => record > 200 && record <= 400)).toBe(true);
    // An escaped quote, with the members in the contract's order and in another one.
    expect(sure.made).toEqual(expect.arrayContaining([24, 404]));
  });

  test.each([
    ['a\\b', ['{"a\\b":1,"k":2}', '{"a\\\\b":1,"k":3}']],
    ['a\\u0041', ['{"a\\u0041":1,"k":2}', '{"a\\\\u0041":1,"k":3}']],
    ['a"b', ['{"a"b":1,"k":2}', '{"a\\"b":1,"k":3}']],
    ['a\u0001b', ['{"a\u0001b":1,"k":2}', '{"a\\u0001b":1,"k":3}']],
  ])('of JSON have the names that they are written to have: %j', async (name, lines) => {
    const named = contractOf({ [name]: { type: 'integer' }, k: { type: 'integer' } }, { additionalProperties: false });
    const { sure } = await bothWays(lines.join('\n'), { type: 'ndjson' }, named);
    expect(sure.rows.map(([record]) => record)).toEqual(['2']);
  });

  test('of a read that failed half-way are of no batch', async () => {
    const content = 'id\n1\n2\n3\n"4\n';
    const contract = contractOf({ id: { type: 'string' } }, {});
    await withSession(content, definitionOf('a', { type: 'csv' }), contract, async (session) => {
      const range = { from: {}, record: 0, records: 4 };
      await session.start(range, null);
      await expect(session.next()).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
      await session.start({ ...range, records: 2 }, null);
      const { goodCount, binaryFile } = await session.next();
      expect([goodCount, binaryFile?.count]).toEqual([2, 2]);
    });
  });

  test('are none where a rule of the whole record, or an unknown one, might refuse them', async () => {
    const whole = { ...wide, minProperties: 4 };
    const { sure } = await bothWays(
      '{"id":1,"amount":2.50}\n{"id":1,"amount":2.50,"note":"ab","flag":true}\n',
      { type: 'ndjson' },
      whole,
    );
    expect(sure.rejected.map(({ recordNo }) => recordNo)).toEqual([1]);
    const mail = contractOf({ id: { type: 'integer' }, mail: { type: 'string', format: 'email' } }, {});
    const { sure: mails } = await bothWays('id,mail\n1,a@example.gov\n2,nobody\n', { type: 'csv' }, mail);
    expect(mails.rejected.map(({ recordNo }) => recordNo)).toEqual([2]);
  });
});

describe('an automaton of a pattern', () => {
  const patterns = [
    ...['^[A-Z]{2}-[0-9]{6}$', 'ab', '^a*b+c?$', 'a|^b|c$', '^(?:ab|cd){1,3}$', '(a|b)*abb', '^[^a-c]+$', '^.{2,}$'],
    ...[
      '\\d{3}-\\d{2}-\\d{4}',
      '^\\w+$',
      '\\W',
      '^[a\\-z]$',
      '^[-a]+$',
      '',
      '^$',
      '(a+)+$',
      '^[\\d.]+$',
      'a{0}b',
      '^(|a)b',
    ],
  ];

  test('accepts the texts that the pattern matches, and no others', () => {
    const texts = fc.string({ unit: fc.constantFrom(...'abcdzABZ019-._ \n'), maxLength: 12 });
    fc.assert(
      fc.property(fc.constantFrom(...patterns), texts, (pattern, text) => {
        const automaton = patternAutomaton(pattern);
        expect(automaton).not.toBeNull();
        expect(automaton?.accepts(Buffer.from(text), 0, text.length)).toBe(new RegExp(pattern, 'u').test(text));
      }),
      { numRuns: 1_500 },
    );
  });

  test.each(['(?=a)', '\\bx', '(a)\\1', 'a^b', '(?:a$)b', '[\\s]', '\\p{L}', '[', 'é', '(?:[ab]{900}){900}'])(
    'is not made of %s',
    (pattern) => {
      expect(patternAutomaton(pattern)).toBeNull();
    },
  );

  test('is not made where it would be large', () => {
    expect(patternAutomaton('[ab]*a[ab]{20}$')).toBeNull();
  });

  test('knows nothing of text beyond ASCII', () => {
    expect(patternAutomaton('.')?.accepts(Buffer.from('é'), 0, 2)).toBe(false);
  });
});
