import { expect, test } from 'vitest';

import { callersPlace, requestIds, trustHeaders } from '../../src/server/request-ids.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';
const named = () => ({ traceparent: `00-${traceId}-${spanId}-01`, 'x-request-id': 'mine' });

test('a stranger’s traceparent is not taken, a trusted caller’s is', () => {
  const strangers = named();
  expect(requestIds(strangers)).toMatchObject({ requestId: 'mine' });
  expect(requestIds(strangers).traceId).not.toBe(traceId);
  expect(callersPlace(strangers)).toBeNull();
  const trusted = named();
  trustHeaders(trusted);
  expect(requestIds(trusted)).toEqual({ requestId: 'mine', traceId });
  expect(callersPlace(trusted)).toEqual({ traceId, spanId });
});

test('a request has the same ids however often they are asked for', () => {
  const headers = {};
  expect(requestIds(headers)).toEqual(requestIds(headers));
  expect(requestIds(headers)).not.toEqual(requestIds({}));
});

test.each([
  ['zeros', `00-${'0'.repeat(32)}-${spanId}-01`],
  ['a span of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
  ['capitals', `00-${traceId.toUpperCase()}-${spanId}-01`],
  ['too few digits', `00-${traceId.slice(1)}-${spanId}-01`],
  ['more than it may hold', `00-${traceId}-${spanId}-01-more`],
  ['nothing', ''],
])('a traceparent of %s is none', (_what, traceparent) => {
  const headers = { traceparent };
  trustHeaders(headers);
  expect(callersPlace(headers)).toBeNull();
  expect(requestIds(headers).traceId).toMatch(/^[0-9a-f]{32}$/);
});
