import { describe, expect, test } from 'vitest';
import { readCopybook } from '../../../../src/contracts/copybook/record-layout.ts';

const places = (text: string) => readCopybook(text).fields.map(({ name, offset, length }) => [name, offset, length]);

describe('a copybook', () => {
  test('gives each usage its bytes', () => {
    const text = `
       01  R.
           05  A PIC S9(4) COMP.
           05  B PIC S9(9) USAGE IS BINARY.
           05  C PIC 9(18) COMP-5.
           05  D PIC S9(7)V99 COMP-3.
           05  E PIC S9(8) PACKED-DECIMAL.
           05  F PIC S9(3)V9 SIGN LEADING SEPARATE.
           05  G PICTURE IS X(3)A(2).
           05  H PIC ZZ,ZZ9.99CR.
           05  I PIC 9(5)V99.`;
    expect(places(text)).toEqual([
      ['A', 0, 2],
      ['B', 2, 4],
      ['C', 6, 8],
      ['D', 14, 5],
      ['E', 19, 5],
      ['F', 24, 5],
      ['G', 29, 5],
      ['H', 34, 11],
      ['I', 45, 7],
    ]);
  });

  test('is read by its columns: sequence numbers, comments, debugging lines, continuations and notes', () => {
    const text = [
      '000100* a comment with PIC X(99).',
      '000200 01  R.                                                           NOTE.0001',
      '000300D    05  DEBUGGED PIC X(9).',
      '000400/    05  EJECTED PIC X(9).',
      "000500     05  A PIC X(4) VALUE 'one that is not closed until the next line. PI",
      "000600-    'C X(7).'.",
      '000700     05  LONG-NA',
      '000800-    ME PIC X(2). *> a note. PIC X.',
      '000900     05  FILLER PIC X(3).',
      "001000         88  YES VALUE 'Y' 'y'. 88 RANGED VALUES ARE 'A' THRU 'F'.",
      '001100     05  LAST-ONE',
      '001200         PIC 9',
      '001300         (3).',
    ];
    expect(() => readCopybook(text.join('\r\n'))).toThrow('line 13 has the clause "(3)", which is not known');
    expect(places(text.slice(0, -1).join('\r\n') + '.')).toEqual([
      ['A', 0, 4],
      ['LONG-NAME', 4, 2],
      ['LAST-ONE', 9, 1],
    ]);
  });

  test('is read freely where it does not keep the columns', () => {
    expect(places('01 r.\n* a comment\n05 a pic x(2), value spaces. 05 b pic 9.')).toEqual([
      ['A', 0, 2],
      ['B', 2, 1],
    ]);
  });

  test('numbers the elements of tables, within tables too', () => {
    expect(places('01 R. 05 T OCCURS 2. 10 A PIC X. 10 B PIC 99 COMP OCCURS 2 TIMES. 05 Z PIC X.')).toEqual([
      ['A-1', 0, 1],
      ['B-1-1', 1, 2],
      ['B-1-2', 3, 2],
      ['A-2', 5, 1],
      ['B-2-1', 6, 2],
      ['B-2-2', 8, 2],
      ['Z', 10, 1],
    ]);
  });

  test('puts REDEFINES over what it redefines, and shorter ones do not move what follows', () => {
    const layout = readCopybook('01 R. 05 A PIC X(8). 05 B REDEFINES A. 10 C PIC 9(4). 10 D PIC X(2). 05 E PIC X.');
    expect(layout.fields.map(({ name, offset, redefines }) => [name, offset, redefines])).toEqual([
      ['A', 0, false],
      ['C', 0, true],
      ['D', 4, true],
      ['E', 8, false],
    ]);
    expect(layout.length).toBe(9);
  });

  test('tells fields of the same name apart by their groups', () => {
    expect(places('01 R. 05 HOME. 10 ZIP PIC X. 05 WORK. 10 ZIP PIC X.').map(([name]) => name)).toEqual([
      'HOME-ZIP',
      'WORK-ZIP',
    ]);
  });

  test.each([
    ['', /line 1 begins a text without any entry/],
    ['01 A.', /line 1 names A with neither a PIC nor parts/],
    ['01 A. 05 FILLER PIC X(3).', /line 1 describes a record without any named field/],
    ['01 A.\n 05 B PIC Q(2).', /line 2 has PIC Q\(2\): it is not a picture/],
    ['01 A.\n 05 B PIC 9(2)PP.', /line 2 has PIC 9\(2\)PP: P \(scaling\) is not offered yet/],
    ['01 A.\n 05 B PIC N(2).', /double-byte/],
    ['01 A.\n 05 B PIC X(0).', /line 2 repeats a symbol 0 times/],
    ['01 A.\n 05 B PIC 9(32).', /line 2 asks for 32 digits/],
    ['01 A.\n 05 B PIC X(99999).', /more than 32767 characters/],
    ['01 A.\n 05 B PIC X(2', /line 2 begins an entry \("05"\) that no full stop ends/],
    ['01 A PIC X.\n 05 B PIC X.', /line 2 puts a level 5 under line 1, which has a PIC/],
    ['01 A.\n 05 B COMP-2.', /line 2 asks for COMP-2, which is not offered yet/],
    ['01 A.\n 05 B PIC X COMP-3.', /line 2 has a binary or packed usage, but a PIC of text/],
    ['01 A.\n 05 B PIC 9(19) COMP.', /line 2 asks for 19 binary digits/],
    ['01 A.\n 05 B PIC 9 SIGN TRAILING.', /line 2 has a SIGN clause, but a PIC without S/],
    ['01 A.\n 05 B REDEFINES C PIC X.', /line 2 has REDEFINES C, which is no item of the same level before it/],
    ['01 A.\n 05 B PIC X.\n 05 C REDEFINES B PIC XX.', /line 3 has REDEFINES B, but takes 2 bytes where 1 are/],
    ['01 A.\n 05 B PIC X OCCURS 0.', /line 2 has OCCURS 0/],
    ['01 A.\n 05 B PIC X OCCURS 1 TO 3.', /line 2 has OCCURS 1 TO 3 without DEPENDING ON/],
    [
      '01 A.\n 05 B PIC X OCCURS 3 DEPENDING ON N.',
      /line 2 has OCCURS DEPENDING ON N, which is no integer field before it/,
    ],
    [
      '01 A.\n 05 N PIC 9.\n 05 T OCCURS 2.\n 10 B PIC X OCCURS 3 DEPENDING ON N.',
      /OCCURS DEPENDING ON within another OCCURS/,
    ],
    ['01 A.\n 05 T OCCURS 200.\n 10 B PIC X OCCURS 200.', /makes more than 10000 fields/],
    ['01 A.\n 05 B PIC X SYNC.', /line 2 has SYNC, whose slack bytes/],
    ['01 A.\n COPY B.', /line 2 holds COPY, which is not expanded here/],
    ['01 A.\n 05 B PIC X WHATEVER.', /line 2 has the clause "WHATEVER", which is not known/],
    ['01 A. 05 B PIC X.\n01 C. 05 D PIC X.', /line 2 begins a second record/],
    ['01 A. 05 B PIC X.\n 05 B PIC X.', /line 2 names A?-?B again, as line 1 does/],
    ['01 A.\n 50 B PIC X.', /line 2 has the level 50/],
    ['01 A.\n XX B PIC X.', /line 2 begins with "XX"; expected a level number/],
  ])('%j is refused by line and clause', (text, message) => {
    expect(() => readCopybook(text)).toThrow(message);
  });
});
