import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isCard } from '../../src/personal-data/checks.ts';
import { detectPersonalData } from '../../src/personal-data/detect.ts';

const kinds = (column: string, ...values: string[]): string[] =>
  detectPersonalData(column, values).map(({ kind }) => kind);

describe('personal data', () => {
  it.each([
    ['SSN', 'anything', '078-05-1120'],
    ['SSN', 'note', 'his number is 219-09-9999, he says'],
    ['SSN', 'SocialSecurityNumber', '078051120'],
    ['EIN', 'anything', '53-0196605'],
    ['EIN', 'employer_id', '530196605'],
    ['PAYMENT_CARD', 'anything', '4111 1111 1111 1111'],
    ['PAYMENT_CARD', 'anything', '378282246310005'],
    ['PAYMENT_CARD', 'note', 'paid by 5555-5555-5555-4444 on Monday'],
    ['PHONE', 'anything', '(202) 456-1111'],
    ['PHONE', 'anything', '+1 202-456-1111'],
    ['PHONE', 'anything', '+44 20 7946 0958'],
    ['PHONE', 'home_phone', '2024561111'],
    ['EMAIL', 'anything', 'someone+tag@example.gov'],
    ['DATE_OF_BIRTH', 'birth_date', '1971-02-28'],
    ['DATE_OF_BIRTH', 'patientDob', '2/28/1971'],
  ])('%s is recognised in column %s: %s', (kind, column, value) => {
    expect(kinds(column, value)).toContain(kind);
  });

  it.each([
    ['an area that was never issued', 'note', '666-12-3456'],
    ['a group of zeros', 'note', '123-00-4567'],
    ['nine digits without a hint', 'id', '078051120'],
    ['a ZIP+4 code', 'zip', '20500-0003'],
    ['a card number with a wrong check digit', 'note', '4111 1111 1111 1112'],
    ['a number of zeros', 'id', '0000000000000000'],
    ['ten digits without a hint', 'id', '2024561111'],
    ['a date', 'flight_date', '1971-02-28'],
    ['a day that there is not', 'dob', '1971-02-30'],
    ['a day to come', 'dob', '2999-01-01'],
    ['coordinates', 'place', '-122.4194, 37.7749'],
    ['a time stamp', 'at', '2024-05-06T07:08:09Z'],
    ['a prefix that the IRS does not assign', 'note', '07-1234567'],
  ])('%s is none', (_what, column, value) => {
    expect(kinds(column, value)).toEqual([]);
  });

  it('counts the values that are there, the commonest kind first', () => {
    const values = ['a@example.gov', null, '078-05-1120', 'b@example.gov', 'nothing'];
    expect(detectPersonalData('note', values)).toEqual([
      { kind: 'EMAIL', matches: 2, checked: 4 },
      { kind: 'SSN', matches: 1, checked: 4 },
    ]);
  });

  it('knows every single wrong digit by Luhn', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 1, max: 9 }), (at, by) => {
        const digits = [...'4111111111111111'].map(Number);
        digits[at] = ((digits[at] as number) + by) % 10;
        expect(isCard(digits.join(''))).toBe(false);
      }),
    );
  });

  it('takes time in proportion to the text, whatever it holds', () => {
    const started = performance.now();
    for (const piece of ['1-', '4 1', 'a@', '+9 ', '((', '4111 ']) detectPersonalData('dob', [piece.repeat(4_000)]);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
