import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { expect, test } from 'vitest';

import { toldSpan } from '../../src/telemetry/told-span.ts';

const span = (attributes: Record<string, string>) =>
  ({
    name: 'query SecretOfMine',
    attributes,
    events: [{ name: 'exception', attributes: { 'exception.message': '123-45-6789' } }],
    status: { code: 2, message: '123-45-6789' },
    spanContext: () => ({ traceId: 'a', spanId: 'b', traceFlags: 1 }),
  }) as unknown as ReadableSpan;

test('an operation is told by its type, and what a client or an error wrote is not', () => {
  const told = toldSpan(
    span({
      'graphql.operation.type': 'query',
      'graphql.operation.name': 'SecretOfMine',
      'graphql.source': 'query SecretOfMine { a }',
      'graphql.variables.ssn': '123-45-6789',
    }),
  );
  expect(told.name).toBe('graphql query');
  expect(told.attributes).toEqual({ 'graphql.operation.type': 'query' });
  expect(told.events).toEqual([]);
  expect(told.status).toEqual({ code: 2 });
  expect(told.spanContext().traceId).toBe('a');
});

test('other spans keep their names', () => {
  expect(toldSpan(span({ 'http.route': '/v1/graphql' }))).toMatchObject({
    name: 'query SecretOfMine',
    attributes: { 'http.route': '/v1/graphql' },
  });
});
