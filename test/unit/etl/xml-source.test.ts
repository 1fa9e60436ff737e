import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { XmlSplitter } from '../../../src/etl/ingest/xml/xml-splitter.ts';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { runSession, withSession } from './session.ts';
import { withFile } from './temp-file.ts';

const definition = (recordPath = '/list/item', more: object = {}) =>
  definitionOf('a.xml', { type: 'xml', recordPath, ...more });
const contract = contractOf(
  {
    '@id': { type: 'integer' },
    name: { type: 'string' },
    price: { type: 'number', maximum: 100 },
    sold: { type: 'boolean' },
    day: { type: 'string', format: 'date' },
    tags: { type: 'array', items: { type: 'integer' } },
    at: { type: 'object', properties: { lat: { type: 'number' } } },
  },
  { required: ['@id', 'name'], additionalProperties: false },
);
const list = (items: string): string => `<?xml version="1.0" encoding="UTF-8"?>\n<list>\n${items}\n</list>\n`;

describe('an XML source', () => {
  test('gives elements and attributes as columns, typed as the contract says', async () => {
    const { rows, survey, rejected } = await runSession(
      list(`<head>not a record</head>
        <item id="1"><name>Zo&#235; &amp; <![CDATA[<Co>]]></name><price> 1.50 </price><sold>true</sold>
          <day>2024-02-29</day><tags>1</tags><tags>2</tags><at><lat>-3.25</lat></at></item>
        <!-- <item id="9"/> -->
        <item id="2"><name/><tags>3</tags><price/></item>`),
      definition(),
      contract,
    );
    expect(survey.columns).toEqual([
      { name: 'id', type: 'bigint' },
      { name: 'name', type: 'text' },
      { name: 'price', type: 'double precision' },
      { name: 'sold', type: 'boolean' },
      { name: 'day', type: 'date' },
      { name: 'tags', type: 'jsonb' },
      { name: 'at_lat', type: 'double precision' },
    ]);
    expect(rejected).toEqual([]);
    expect(rows).toEqual([
      ['1', '1', 'Zoë & <Co>', '1.5', 'true', '2024-02-29', '[1,2]', '-3.25'],
      ['2', '2', '', null, null, null, '[3]', null],
    ]);
  });

  test('rejects with the contract’s reasons what it refuses, at its byte, and what it does not name', async () => {
    const text = list(
      '<item id="1"><name>a</name><price>200</price></item><item id="x"><name>b</name></item><item id="3"><name>c</name><name>d</name><more/></item>',
    );
    const { rows, rejected } = await runSession(text, definition(), contract);
    expect(rows).toEqual([]);
    expect(rejected.map(({ reasons }) => reasons.map(({ path, rule }) => `${path} ${rule}`).sort())).toEqual([
      ['/price maximum'],
      ['/@id type'],
      ['/more additionalProperties', '/name type'],
    ]);
    expect(rejected.map(({ byteOffset }) => text.slice(byteOffset ?? 0, (byteOffset ?? 0) + 12))).toEqual([
      '<item id="1"',
      '<item id="x"',
      '<item id="3"',
    ]);
    expect(JSON.parse(rejected[1]?.raw ?? '')).toEqual({ '@id': 'x', name: 'b' });
  });

  test('rejects by itself each record that is not well-formed, not UTF-8 or too deep, and reads the others', async () => {
    const deep = `<item id="5"><name>${'<b>'.repeat(200)}${'</b>'.repeat(200)}</name></item>`;
    const text = Buffer.concat([
      Buffer.from('<list><item id="1"><name>a</name></item><item id="2"><name>a & b</name></item>'),
      Buffer.from('<item id="3"><name>&nbsp;</name></item><item id="4"><name>\u00e9</name></item>', 'latin1'),
      Buffer.from(`${deep}<item id="6" id="7"><name>c</name></item><item id="8"><name>1 < 2</name></item>`),
      Buffer.from('<item id="9"><name>z</name></item></list>'),
    ]);
    const { rows, rejected } = await runSession(text, definition(), contract);
    expect(rows.map(([, id]) => id)).toEqual(['1', '9']);
    expect(rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.rule])).toEqual([
      [2, 'parse'],
      [3, 'parse'],
      [4, 'encoding'],
      [5, 'depth'],
      [6, 'parse'],
      [7, 'parse'],
    ]);
  });

  test('reads prefixed names, several parents and nil, and passes over a document type that names another file', async () => {
    const { rows } = await runSession(
      `<!DOCTYPE list PUBLIC "-//X//Y" "http://nowhere.invalid/x.dtd">
       <g:list xmlns:g="urn:g" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
       <g:part><g:item id="1"><g:name xsi:type="s">a</g:name></g:item></g:part><g:part><g:item id="2"><g:name>b</g:name><g:price xsi:nil="true"/></g:item></g:part></g:list>`,
      definition('/list/part/item'),
      contractOf({ '@id': { type: 'integer' }, name: { type: 'string' }, price: { type: ['number', 'null'] } }),
    );
    expect(rows).toEqual([
      ['1', '1', 'a', null],
      ['2', '2', 'b', null],
    ]);
  });

  test('keeps a whole record in one column where there is no contract, and every digit where there is one', async () => {
    const whole = await runSession('<a><b c="1">x<d/></b></a>', definition('/a/b'), null);
    expect(whole.rows).toEqual([['1', '{"@c":"1","d":"","#text":"x"}']]);
    const exact = await runSession(
      '<a><b><n>9007199254740993</n></b><b><n>+007</n></b></a>',
      definition('/a/b'),
      contractOf({ n: { type: 'integer' } }),
    );
    expect(exact.rows.map(([, n]) => n)).toEqual(['9007199254740993', '7']);
  });

  test('goes on from any cursor', async () => {
    const text = list(
      Array.from({ length: 30 }, (_each, at) => `<item id="${at + 1}"><name>n</name></item>`).join('\n'),
    );
    await withSession(text, { ...definition(), batch: { records: 7 } }, contract, async (session) => {
      const [range] = (await session.survey()).ranges;
      if (range === undefined) throw new Error('no range');
      await session.start(range, null);
      const first = await session.next();
      await session.start(range, first.cursor);
      const second = await session.next();
      expect([second.firstRecord, second.lastRecord, second.goodCount]).toEqual([8, 14, 7]);
    });
  });

  test.for([
    ['a record without its end', '<list><item><name>a</list>', /Expected <\/name>, found <\/list> \(byte 19\)/],
    ['a document cut short', '<list><item id="1"><name>a</name></item>', /Expected <\/list>, found the end/],
    ['entities of its own', '<!DOCTYPE l [<!ENTITY a "aa">]><list><item/></list>', /entities are never expanded/],
    ['an entity that names a file', '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><list/>', /never expanded/],
    ['two roots', '<list><item id="1"><name>a</name></item></list><list/>', /second root/],
    ['text behind the root', '<list><item id="1"><name>a</name></item></list>x', /text outside of the root/],
    ['another encoding', '<?xml version="1.0" encoding="ISO-8859-1"?><list/>', /says that it is ISO-8859-1/],
    ['XML 1.1', '<?xml version="1.1"?><list/>', /found version 1.1/],
    [
      'no record at the path',
      '<list><entry/></list>',
      /expected elements at \/list\/item, found "\/list", "\/list\/entry"/,
    ],
    ['something else', '{"a":1}', /text outside of the root/],
    ['a record beyond the limit', `<list><item><name>${'x'.repeat(9_000_000)}</name></item></list>`, /at most 8388608/],
    ['a tag that never ends', `<list><item a="${'x'.repeat(9_000_000)}`, /at most 8388608|end of a tag/],
    ['elements without end', '<a>'.repeat(20_000), /10000 elements within each other/],
  ] as const)('refuses %s', async ([, text, message]) => {
    await expect(runSession(text, definition(), contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('is split alike however its bytes come, and from each record’s own place', () => {
    const piece = fc.constantFrom(
      '<r/>',
      '<r a=">"/>',
      '<r>t<q><r/></q></r>',
      '<r><![CDATA[</r>]]></r >',
      '<!-- <r> -->',
      '<?p <r> ?>',
      '<s><r/></s>',
      '\n ',
      '<r>é<!-- </r> --></r>',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 3, max: 64 }), (pieces, blockBytes) => {
        const text = `<a><b>${pieces.join('')}</b>${pieces.join('')}<b>${pieces.join('')}</b></a>`;
        const bytes = Buffer.from(text);
        withFile(bytes, (file, size) => {
          const read = (start: number, inside: boolean, block?: number): [number, string][] => {
            const options = { inside, ...(block === undefined ? {} : { blockBytes: block }) };
            const splitter = new XmlSplitter(file, { start, end: size }, ['a', 'b', 'r'], options);
            const found: [number, string][] = [];
            while (splitter.next())
              found.push([splitter.offset, splitter.buffer.toString('utf8', splitter.start, splitter.end)]);
            return found;
          };
          const whole = read(0, false);
          const records = pieces.filter((each) => each.startsWith('<r'));
          expect(whole.map(([, record]) => record)).toEqual([...records, ...records]);
          expect(read(0, false, blockBytes)).toEqual(whole);
          for (const [at, [offset]] of whole.entries()) expect(read(offset, true, blockBytes)).toEqual(whole.slice(at));
        });
      }),
      { numRuns: 200 },
    );
  });
});
