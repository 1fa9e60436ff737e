import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { FluxError } from '../../src/errors.ts';
import { rejectedMask } from '../../src/etl/ingest/mask-rejected.ts';
import type { PipelineDefinition } from '../../src/etl/engine-types.ts';
import { findInDocument, findPersonalData, isLeftAlone, maskText, maskValue } from '../../src/personal-data/mask.ts';
import { kindOfField, patterns } from '../../src/personal-data/patterns.ts';
import { pipelineDocument } from '../support/api.ts';

describe('maskText', () => {
  it.each([
    ['SSN 078-05-1120.', 'SSN [ssn].'],
    ['078 05 1120', '[ssn]'],
    ['078\u201105\u20111120', '[ssn]'],
    ['"ssn":"078051120"', '"ssn":"[ssn]"'],
    ['social security number is 078051120', 'social security number is [ssn]'],
    ['ITIN 912-34-5678', 'ITIN [ssn]'],
    ['of-078-05-1120.csv and ssn_078-05-1120_1.csv', 'of-[ssn].csv and ssn_[ssn]_1.csv'],
    ['part 12-078-05-1120 of it', 'part 12-078-05-1120 of it'],
    ['EIN 12-3456789,', 'EIN [ein],'],
    ['4111 1111 1111 1111 and 4111-1111-1111-1111 and 378282246310005', '[card] and [card] and [card]'],
    ['(202) 456-1111, 202-456-1111, 202.456.1111, 1-202-456-1111', '[phone], [phone], [phone], [phone]'],
    ['+1 202 456 1111 and +442079460958', '[phone] and [phone]'],
    ['write to jo.o\u2019neil+x@mail.example.gov!', 'write to jo.o\u2019[email]!'],
    ['<jos\u00e9@example.org>', '<[email]>'],
    ['routing number 021000021, ABA: 121000248', 'routing number [routing number], ABA: [routing number]'],
    ['NPI 1234567893; npi: 1245319599', 'NPI [npi]; npi: [npi]'],
    ['30569309025904 and 3056 930902 5904', '[card] and [card]'],
    ['DOB: 07/04/1976', 'DOB: [date of birth]'],
    ['date of birth 1976-07-04; born on July 4, 1976', 'date of birth [date of birth]; born on [date of birth]'],
    ['"date_of_birth": "1976-07-04"', '"date_of_birth": "[date of birth]"'],
  ])('masks %j', (text, masked) => expect(maskText(text)).toBe(masked));

  it.each([
    'run 01a21317-b356-772c-935d-6d64babb7df0 at 2026-07-04T10:11:12.123456Z',
    '12345678-1234-7123-8123-123456789012',
    'records 100 to 200, 3000 of 4000000000000000 bytes',
    'sha256 0f4636c78f65d3639ece5a064b5ae753e3408614a14fb18ab4d7540d2c248543',
    'version 1.2.3-45-6789 of 10.0.0.1:5432, 2026-07-04',
    '4111111111111112', // no check digit
    'a flight on 07/04/1976',
    '0.4111111111111111',
    'faa-12-3456789-x',
    'routing 021000022, NPI 1234567890', // no check digits
    '021000021 bytes of 1234567893',
  ])('leaves %j', (text) => expect(maskText(text)).toBe(text));

  it('leaves who acts, where that is told', () => {
    expect(maskText('asked by pat@example.gov for jo@example.gov', { known: ['pat@example.gov'] })).toBe(
      'asked by pat@example.gov for [email]',
    );
  });

  it('leaves nothing behind that it would find again, and of the value nothing at all', () => {
    const secret = fc.oneof(
      fc
        .tuple(
          fc.integer({ min: 100, max: 999 }),
          fc.integer({ min: 10, max: 99 }),
          fc.integer({ min: 1000, max: 9999 }),
        )
        .map((parts) => parts.join('-')),
      fc
        .tuple(fc.integer({ min: 10, max: 99 }), fc.integer({ min: 1_000_000, max: 9_999_999 }))
        .map((parts) => parts.join('-')),
      fc.emailAddress({ size: 'small' }).filter((address) => /^[a-z0-9.+_-]+@/i.test(address)),
    );
    const text = fc.string({ unit: 'grapheme' }).filter((part) => !/[\w\d@.+%'-]$/u.test(part));
    fc.assert(
      fc.property(text, secret, (before, value) => {
        const masked = maskText(`${before} ${value} `);
        expect(masked).not.toContain(value);
        expect(maskText(masked)).toBe(masked);
        expect(findPersonalData(masked)).toBeNull();
      }),
      { numRuns: 2_000 },
    );
  });

  it('takes time in proportion to the text, whatever is in it', () => {
    for (const unit of ['a', '1', '1-', 'a.', 'a@', '@a.', '+1 ', '(202) ', 'dob ', 'born on ', '4111 ', '\u2010']) {
      const startedAt = performance.now();
      maskText(unit.repeat(100_000));
      expect(performance.now() - startedAt, unit).toBeLessThan(3_000);
    }
  });
});

describe('a quick look at a text', () => {
  const dash = '[-\u2010\u2011\u2013 ]';
  const written = [
    `\\d{3}${dash}\\d{2}${dash}\\d{4}`,
    '\\d{2}-\\d{7}',
    `[2-6]\\d{3}(${dash}?\\d{4}){3}`,
    `3[47]\\d{2}${dash}?\\d{6}${dash}?\\d{5}`,
    '\\+\\d{1,3}([ .-]?\\(?\\d{2,4}\\)?){2,5}',
    '(1[-. ])?(\\([2-9]\\d{2}\\) ?|[2-9]\\d{2}[-. ])[2-9]\\d{2}[-. ]\\d{4}',
    '[0-9()+. -]{5,30}',
  ];
  const piece = fc.oneof(
    ...written.map((source) => fc.stringMatching(new RegExp(`^${source}$`))),
    fc.constantFrom(' ', ', ', '-', '1', 'a', '"', '\n', ' dob 2001-02-03 ', ' ssn ', ' npi:'),
  );

  it('finds something wherever a pattern does', () => {
    let found = 0;
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 4 }), (pieces) => {
        const text = pieces.join('');
        // A group of four digits has been asked for as long as there are masks.
        fc.pre(/\d{4}/.test(text));
        for (const { worth, all, formOf } of patterns.slice(-1)) {
          const isFound = [...text.matchAll(all)].some(({ groups = {} }) => formOf(groups) !== null);
          if (isFound) expect(worth.test(text), text).toBe(true);
          found += Number(isFound);
        }
      }),
      { numRuns: 3_000 },
    );
    expect(found).toBeGreaterThan(1_000);
  });

  it('passes over sums, days and numbers of rows', () => {
    const digits = patterns.at(-1);
    for (const text of ['12345.67', '2019-01-01', 'permit no 99999', '"amount":"12345.67","quantity":"1234"'])
      expect(digits?.worth.test(text), text).toBe(false);
  });
});

describe('maskValue', () => {
  it('goes through JSON, masks names of properties, and whole values where the name says what they are', () => {
    expect(
      maskValue({
        note: 'call 202-456-1111',
        ssn: 78051120,
        applicant: { first_name: 'Jo', 'E-Mail': 'hidden', dateOfBirth: '4 July', tags: ['x', '078-05-1120'] },
        '078-05-1120': true,
        count: 12,
        nothing: null,
        email: null,
      }),
    ).toEqual({
      note: 'call [phone]',
      ssn: '[ssn]',
      applicant: { first_name: '[name]', 'E-Mail': '[email]', dateOfBirth: '[date of birth]', tags: ['x', '[ssn]'] },
      '[ssn]': true,
      count: 12,
      nothing: null,
      email: null,
    });
  });

  it('leaves what is no JSON as it is', () => {
    const date = new Date(0);
    expect(maskValue({ date }).date).toBe(date);
  });

  it('does not take names for personal that only look alike', () => {
    for (const name of [
      'name',
      'station_name',
      'tinting',
      'passenger_count',
      'email_count',
      'companion',
      'wingspan',
      'cell',
    ]) {
      expect(kindOfField(name), name).toBeNull();
    }
  });
});

it('a document is searched by place', () => {
  expect(findInDocument({ a: ['x', { 'b/c': 'me@example.gov' }], '078-05-1120': 1 })).toEqual([
    { path: '/a/1/b~1c', kind: 'email' },
    { path: '', kind: 'ssn' },
  ]);
});

it('a failure holds none, however it was made', () => {
  const error = new FluxError('INVALID_INPUT', 'found "078-05-1120"', {
    details: { issues: [{ path: '/078-05-1120', rule: 'x', message: 'found me@example.gov' }] },
  });
  expect(error.message).toBe('found "[ssn]"');
  expect(error.details.issues).toEqual([{ path: '/[ssn]', rule: 'x', message: 'found [email]' }]);
});

describe('JSON that is surely left alone', () => {
  const part = fc.oneof(
    { weight: 3, arbitrary: fc.string({ unit: 'grapheme', maxLength: 6 }) },
    fc.constantFrom(
      'ssn',
      'SSN ',
      'dob: ',
      'born on ',
      'routing number ',
      'npi ',
      'a@b.gov',
      '219-09-9999',
      '219099999',
    ),
    fc.constantFrom(
      '1234567893',
      '+1 202 555 0143',
      '2001-02-03',
      '4111 1111 ',
      '1111 1111',
      '"',
      '\\',
      '\n',
      '-',
      '12',
      '3456',
    ),
  );
  const text = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(''));
  const name = fc.oneof(
    text,
    fc.constantFrom('amount', 'note', 'email', 'first_name', 'SSN', 'issued_on', '__proto__'),
  );
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { depthSize: 'small' },
      text,
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(null, true, 219_099_999),
      fc.array(tie('json'), { maxLength: 3 }),
      fc.dictionary(name, tie('json'), { maxKeys: 4 }),
    ),
  }));

  it('comes out of every mask as it was', () => {
    let alone = 0;
    fc.assert(
      fc.property(json, (given) => {
        const written = JSON.stringify(given);
        const value: unknown = JSON.parse(written);
        if (!isLeftAlone(value, written)) return;
        alone += 1;
        expect(JSON.stringify(maskValue(value))).toBe(written);
        expect(maskText(written)).toBe(written);
      }),
      { numRuns: 3_000 },
    );
    expect(alone).toBeGreaterThan(300);
  });

  it('is what most records are, and none with something to mask', () => {
    const left = (value: unknown): boolean => isLeftAlone(value, JSON.stringify(value));
    expect(
      left({ id: 7, issued_on: '2016-03-02', amount: 345_678.91, code: 'AB-123456', note: 'permit no 4711' }),
    ).toBe(true);
    expect(left({ note: 'call 202-555-0143' })).toBe(false);
    expect(left({ holder: { first_name: 'Jo' } })).toBe(false);
    expect(left([{ note: 'is\nborn 2001-02-03' }])).toBe(false);
  });
});

describe('a rejected record', () => {
  const definition = (format: object, transforms: object[] = []): PipelineDefinition =>
    pipelineDocument('p', {
      source: { connection: 'files', path: 'x', format },
      transforms,
    }) as unknown as PipelineDefinition;
  const column = (name: string) => ({ name: name.toLowerCase(), original: name });
  const record = (raw: string, reasons: object[] = []) =>
    ({ recordNo: 1, byteOffset: 0, raw, reasons }) as Parameters<ReturnType<typeof rejectedMask>>[0];

  it('of delimited text loses the cells that are personal by name or by declaration, and the rest what is written so', () => {
    const mask = rejectedMask(definition({ type: 'csv' }, [{ type: 'sterilise', hash: ['pilot'] }]), {
      columns: { columns: [] },
      headings: ['id', 'SSN', 'Pilot', 'note'],
    });
    const reasons = [
      { path: '/Pilot', rule: 'maxLength', message: 'must be at most 3 characters long, found "Jo, the pilot"' },
      { path: '/id', rule: 'type', message: 'must be an integer, found "me@example.gov"' },
    ];
    expect(mask(record('7,x,"Jo, ""the"" pilot",call 202-456-1111', reasons))).toMatchObject({
      raw: '7,[ssn],[masked],call [phone]',
      reasons: [
        { path: '/Pilot', message: 'must be at most 3 characters long, found [masked]' },
        { path: '/id', message: 'must be an integer, found "[email]"' },
      ],
    });
    expect(mask(record('7,x,"Jo')).raw).toContain('withheld');
    expect(mask(record('7,x')).raw).toContain('withheld');
  });

  it('without personal fields keeps its text, however broken, but for what is written so', () => {
    const mask = rejectedMask(definition({ type: 'csv' }), { columns: { columns: [] }, headings: ['id', 'note'] });
    expect(mask(record('7,"open 078-05-1120')).raw).toBe('7,"open [ssn]');
  });

  it('of JSON loses its personal properties at any depth', () => {
    const mask = rejectedMask(definition({ type: 'json' }, [{ type: 'sterilise', drop: ['owner_code'] }]), {
      columns: { columns: [{ name: 'owner_code', original: 'owner.code' }, column('email')] },
    });
    expect(mask(record('{"id":1,"owner":{"code":42,"phone":5},"email":"x","t":"078-05-1120"}')).raw).toBe(
      '{"id":1,"owner":{"code":"[masked]","phone":"[phone]"},"email":"[email]","t":"[ssn]"}',
    );
    expect(mask(record('{"email": "x')).raw).toContain('withheld');
  });
});
