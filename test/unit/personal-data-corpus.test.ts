import { describe, expect, it } from 'vitest';

import { isProviderIdentifier, isRoutingNumber } from '../../src/personal-data/checks.ts';
import { detectPersonalData, type PersonalDataKind } from '../../src/personal-data/detect.ts';
import { nameFinder } from '../../src/personal-data/names.ts';
import { corpus } from '../support/personal-data-corpus.ts';

/** Names are a guess of a library; every other kind has a form, and most a check digit. */
const bounds: Partial<Record<PersonalDataKind, { precision: number; recall: number }>> = {
  NAME: { precision: 0.85, recall: 0.8 },
};
const exact = { precision: 1, recall: 1 };

const shown = ({
  kind,
  there,
  said,
  precision,
  recall,
}: Record<'there' | 'said' | 'precision' | 'recall', number> & { kind: string }): string =>
  `${kind.padEnd(16)} ${String(there)} there, ${String(said)} said: precision ${precision.toFixed(2)}, recall ${recall.toFixed(2)}`;

/** Nothing of what a number means, only how often it occurs. */
const numbers = (count: number, make: (i: number) => string): string[] =>
  Array.from({ length: count }, (_none, i) => make(i));

describe('the detector on labelled values', () => {
  it('finds each kind, and no more, within its bounds', async () => {
    const findNames = await nameFinder();
    const told = corpus.map((each) => ({
      ...each,
      found: detectPersonalData(each.column, [each.value], findNames).map(({ kind }) => kind),
    }));
    const kinds = [...new Set(corpus.flatMap(({ kind }) => (kind === null ? [] : [kind])))];
    const table = kinds.map((kind) => {
      const right = told.filter((each) => each.kind === kind && each.found.includes(kind)).length;
      const said = told.filter(({ found }) => found.includes(kind)).length;
      const there = told.filter((each) => each.kind === kind).length;
      return { kind, there, said, precision: right / said, recall: right / there };
    });
    process.stdout.write(`${table.map(shown).join('\n')}\n`);
    for (const { kind, precision, recall } of table) {
      const wrong = told
        .filter((each) => (each.kind === kind) !== each.found.includes(kind))
        .map(({ column, value, what }) => `${column}: ${value} (${what ?? 'missed'})`);
      const bound = bounds[kind] ?? exact;
      expect(precision, `${kind} wrong: ${wrong.join('; ')}`).toBeGreaterThanOrEqual(bound.precision);
      expect(recall, `${kind} wrong: ${wrong.join('; ')}`).toBeGreaterThanOrEqual(bound.recall);
    }
    expect(table.map(({ kind }) => kind)).toHaveLength(9);
  });

  it('tells a column of people from one of places or companies by its share', async () => {
    const findNames = await nameFinder();
    const of = (keep: (each: (typeof corpus)[number]) => boolean): string[] =>
      corpus.filter(keep).map(({ value }) => value);
    const people = of(({ column }) => column === 'owner');
    const others = of(({ column }) => column === 'operator' || column === 'place');
    const [found] = detectPersonalData('owner', people, findNames);
    expect(found).toMatchObject({ kind: 'NAME', checked: people.length });
    expect(found?.matches).toBeGreaterThan(people.length * 0.8);
    expect(detectPersonalData('owner', others, findNames)).toEqual([]);
    expect(detectPersonalData('owner', others.slice(0, 5).concat(people.slice(0, 2)), findNames)).toMatchObject([
      { kind: 'NAME', matches: 2 },
    ]);
  });
});

describe('check digits in a column whose name says nothing', () => {
  const routing = numbers(90_000, (i) => `0210${String(i + 10_000)}`).filter(isRoutingNumber);
  const npi = numbers(90_000, (i) => `12345${String(i + 10_000)}`).filter(isProviderIdentifier);

  it.each([
    ['ROUTING_NUMBER', routing],
    ['NPI', npi],
  ] as const)('are no accident where all are right: %s', (kind, values) => {
    expect(detectPersonalData('code', values.slice(0, 40))).toEqual([{ kind, matches: 40, checked: 40 }]);
    expect(detectPersonalData('code', values.slice(0, 10))).toEqual([]);
  });

  it('are one where every tenth is right', () => {
    expect(
      detectPersonalData(
        'code',
        numbers(200, (i) => String(21_000_000 + i).padStart(9, '0')),
      ),
    ).toEqual([]);
    expect(
      detectPersonalData(
        'code',
        numbers(200, (i) => String(1_234_500_000 + i)),
      ),
    ).toEqual([]);
    // One of ten has Luhn's digit.
    expect(
      detectPersonalData(
        'order',
        numbers(200, (i) => String(4_111_111_111_110_000 + i)),
      ),
    ).toEqual([]);
    expect(
      detectPersonalData('order', ['4111111111111111', ...numbers(5, (i) => String(4_111_111_111_110_000 + i * 3))])[0],
    ).toMatchObject({
      kind: 'PAYMENT_CARD',
    });
  });
});
