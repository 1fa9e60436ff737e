/** What looks through answers and events of a load notices what it is there for. */
import { describe, expect, test } from 'vitest';

import { createEventWatch } from '../support/load/event-watch.ts';
import { createIsolationWatch } from '../support/load/isolation-watch.ts';

const [one, two] = ['019a0000-0000-7000-8000-000000000001', '019a0000-0000-7000-8000-000000000002'];
const globalId = (id: string): string => Buffer.from(`Run:${id}`).toString('base64url');

describe('isolation', () => {
  const watch = () => createIsolationWatch(['load-north', 'load-south']);

  test('an agency may see its own', () => {
    const isolation = watch();
    isolation.see('load-north', JSON.stringify({ runId: one, id: globalId(one), agency: 'load-north' }));
    isolation.see('load-south', JSON.stringify({ runId: two, agency: 'load-south' }));
    isolation.see('load-north', JSON.stringify({ runId: one }));
    expect([isolation.breaches, isolation.answers, isolation.ids]).toEqual([[], 3, 2]);
  });

  test.each([
    ['an id', { runId: one }],
    ['an id inside of a global one', { id: globalId(one) }],
    ['a record', { values: ['load-north', '1990'] }],
  ])('%s of another agency is noticed', (_what, answer) => {
    const isolation = watch();
    isolation.see('load-north', JSON.stringify({ runId: one }));
    isolation.see('load-south', JSON.stringify(answer));
    expect(isolation.breaches).toHaveLength(1);
  });

  test('what was asked for by its id may be named back, and belongs to nobody by that', () => {
    const isolation = watch();
    isolation.see('load-south', `There is no run ${one}.`, JSON.stringify({ id: globalId(one) }));
    isolation.see('load-north', JSON.stringify({ runId: one }));
    expect(isolation.breaches).toEqual([]);
  });
});

describe('events', () => {
  const body = (after: string | null): string =>
    JSON.stringify({ query: 'subscription S { runEvents { seq } }', variables: { runId: one, after } });
  const event = (seq: number): string =>
    JSON.stringify({
      data: {
        runEvents: { __typename: 'RunEvent', seq: String(seq), cursor: `c${String(seq)}`, at: '2026-01-01T00:00:00Z' },
      },
    });
  const end = (lastSeq: number): string =>
    JSON.stringify({ data: { runEvents: { __typename: 'StreamEnd', lastSeq: String(lastSeq), cursor: 'end' } } });

  /** Streams one after the other, each with where it goes on. */
  function faultsOf(...streams: [after: string | null, ...results: string[]][]): readonly string[] {
    const watch = createEventWatch();
    for (const [after, ...results] of streams) {
      const stream = watch.open(body(after));
      for (const result of results) stream?.take(result);
    }
    return watch.faults;
  }

  test('a stream that is broken off and goes on after its last cursor is whole', () => {
    expect(faultsOf([null, event(1), event(2)], ['c2', event(3), end(3)])).toEqual([]);
  });

  test.each<[string, [string | null, ...string[]][]]>([
    ['a gap', [[null, event(1), event(3)]]],
    ['a repeat', [[null, event(1), event(1)]]],
    ['disorder', [[null, event(2)]]],
    [
      'a repeat after a new connection',
      [
        [null, event(1), event(2)],
        ['c2', event(2)],
      ],
    ],
    [
      'a gap after a new connection',
      [
        [null, event(1)],
        ['c1', event(3)],
      ],
    ],
    ['an end before the last event', [[null, event(1), end(2)]]],
    ['a gap that the server tells of', [[null, JSON.stringify({ data: { runEvents: { __typename: 'StreamGap' } } })]]],
    ['a cursor that is of no event', [['c9', event(10)]]],
  ])('%s is noticed', (_what, streams) => {
    expect(faultsOf(...streams)).not.toEqual([]);
  });

  test('other operations are none of it', () => {
    expect(createEventWatch().open(JSON.stringify({ query: 'query Q { runs { id } }' }))).toBeNull();
  });
});
