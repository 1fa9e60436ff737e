import type { ReadableSpan } from '@opentelemetry/sdk-trace';

/**
 * What a client writes itself into its document, and what messages of errors may repeat: names of operations and aliases are free text,
 * and spans go to whoever watches, across agencies.
 */
const clientsWords = new Set(['graphql.source', 'graphql.operation.name', 'graphql.field.alias']);

/** A span as it may leave the process: an operation is called by its type, and errors are told by code alone. */
export function toldSpan(span: ReadableSpan): ReadableSpan {
  const operation = span.attributes['graphql.operation.type'];
  const attributes = Object.fromEntries(
    Object.entries(span.attributes).filter(
      ([name]) => !clientsWords.has(name) && !name.startsWith('graphql.variables'),
    ),
  );
  const told = {
    name: typeof operation === 'string' ? `graphql ${operation}` : span.name,
    attributes,
    events: [],
    status: { code: span.status.code },
  };
  return Object.create(
    span,
    Object.fromEntries(Object.entries(told).map(([name, value]) => [name, { value, enumerable: true }])),
  ) as ReadableSpan;
}
