import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  cursorKeyOf,
  decodeCursor,
  decodeEventCursor,
  encodeCursor,
  encodeEventCursor,
} from '../../src/events/cursor.ts';

const key = cursorKeyOf(Buffer.alloc(32, 7));
const scope = { kind: 'runs:desc', agency: 'nasa' };
const run = { agency: 'nasa', runId: '01890000-0000-7000-8000-000000000000' };

describe('a cursor', () => {
  it('says what was put into it', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), (parts) => {
        expect(decodeCursor(key, scope, encodeCursor(key, scope, parts))).toEqual(parts);
      }),
    );
    expect(decodeEventCursor(key, run, encodeEventCursor(key, { ...run, seq: 2n ** 62n }))).toBe(2n ** 62n);
  });

  it('fits its own list, run and agency only', () => {
    const cursor = encodeEventCursor(key, { ...run, seq: 3n });
    const elsewhere = [
      () => decodeEventCursor(key, { ...run, agency: 'noaa' }, cursor),
      () => decodeEventCursor(key, { ...run, runId: run.runId.replace('8', '9') }, cursor),
      () => decodeEventCursor(cursorKeyOf(Buffer.alloc(32, 8)), run, cursor),
      () => decodeCursor(key, scope, cursor),
    ];
    for (const decode of elsewhere) expect(decode).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }) as Error);
  });

  it('cannot be made up or changed', () => {
    const cursor = encodeEventCursor(key, { ...run, seq: 3n });
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => decodeEventCursor(key, run, text)).toThrow(
          expect.objectContaining({ code: 'INVALID_INPUT' }) as Error,
        );
      }),
    );
    for (const changed of [
      `${cursor}.x`,
      cursor.slice(0, -2),
      `${Buffer.from('["4"]').toString('base64url')}.${cursor.split('.')[1] ?? ''}`,
    ]) {
      expect(() => decodeEventCursor(key, run, changed)).toThrow(
        expect.objectContaining({ code: 'INVALID_INPUT' }) as Error,
      );
    }
  });
});
