import { GraphQLError, Kind, type ValueNode } from 'graphql';

import { scopes } from '../src/auth/roles.ts';
import { builder } from './builder.ts';

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;

builder.scalarType('BigInt', {
  description:
    'A whole number of 64 bits, a string on the wire, because JSON readers lose digits above 2^53. Counts are of this type: GraphQL’s Int ends at 2,147,483,647.',
  serialize: (value) => toInt64(value).toString(),
  parseValue: (value) => toInt64(value),
  parseLiteral: (node) => {
    if (node.kind === Kind.INT || node.kind === Kind.STRING) return toInt64(node.value);
    throw invalid('BigInt', 'a whole number or a string of digits', node.kind);
  },
});

/** Takes a bigint, a whole number within 2^53, or their text. */
function toInt64(value: unknown): bigint {
  const whole =
    typeof value === 'bigint'
      ? value
      : typeof value === 'number' && Number.isSafeInteger(value)
        ? BigInt(value)
        : typeof value === 'string' && /^(0|-?[1-9][0-9]{0,18})$/.test(value)
          ? BigInt(value)
          : null;
  if (whole === null || whole < int64Min || whole > int64Max)
    throw invalid('BigInt', 'a whole number of 64 bits', value);
  return whole;
}

/** RFC 3339 with seconds and a zone; a time without a zone means another instant on another machine. */
const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

builder.scalarType('DateTime', {
  description:
    'An instant, as RFC 3339 writes it, in UTC: 2026-08-01T12:00:00.000Z. Input may have any zone but must have one.',
  specifiedByURL: 'https://scalars.graphql.org/andimarek/date-time.html',
  serialize: (value) => {
    if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString();
    throw invalid('DateTime', 'a Date', value);
  },
  parseValue: toInstant,
  parseLiteral: (node) => toInstant(node.kind === Kind.STRING ? node.value : node.kind),
});

function toInstant(value: unknown): Date {
  const part = typeof value === 'string' ? rfc3339.exec(value) : null;
  if (part) {
    const [year, month, day] = [Number(part[1]), Number(part[2]), Number(part[3])];
    const instant = new Date(String(value).toUpperCase());
    // Date takes 2026-02-30 for the 2nd of March.
    const exists = new Date(Date.UTC(year, month, 0)).getUTCDate() >= day && day > 0 && month >= 1 && month <= 12;
    if (exists && !Number.isNaN(instant.getTime())) return instant;
  }
  throw invalid('DateTime', 'an RFC 3339 instant with a zone, such as 2026-08-01T12:00:00Z', value);
}

builder.scalarType('JSON', {
  description: 'Any JSON value (RFC 8259).',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc8259',
  serialize: toJson,
  parseValue: fromWire,
  parseLiteral: (node, variables) => fromWire(fromLiteral(node, variables ?? {})),
});

/** Refuses what JSON cannot say, instead of dropping it as JSON.stringify does. */
function toJson(value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && isPlain(value)) {
    return Object.fromEntries(
      Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, toJson(item)]])),
    );
  }
  throw invalid('JSON', 'a JSON value', value);
}

/** Input may be hashed or stored, and readers disagree about a key `__proto__`. */
function fromWire(value: unknown): unknown {
  refuseProto(value);
  return toJson(value);
}

function refuseProto(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if (Object.hasOwn(value, '__proto__')) throw invalid('JSON', 'keys other than __proto__', '__proto__');
  for (const item of Object.values(value)) refuseProto(item);
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as unknown;
  return prototype === Object.prototype || prototype === null;
}

function fromLiteral(node: ValueNode, variables: Record<string, unknown>): unknown {
  switch (node.kind) {
    case Kind.NULL:
      return null;
    case Kind.STRING:
    case Kind.BOOLEAN:
      return node.value;
    case Kind.INT:
    case Kind.FLOAT:
      return Number(node.value);
    case Kind.LIST:
      return node.values.map((item) => fromLiteral(item, variables));
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map((field) => [field.name.value, fromLiteral(field.value, variables)]));
    case Kind.VARIABLE:
      return variables[node.name.value] ?? null;
    case Kind.ENUM:
      throw invalid('JSON', 'a JSON value', node.value);
  }
}

builder.scalarType('Scope', {
  description: `A permission that follows from the token’s role: ${scopes.join(', ')}.`,
  serialize: toScope,
  parseValue: toScope,
});

function toScope(value: unknown): string {
  if (typeof value === 'string' && (scopes as readonly string[]).includes(value)) return value;
  throw invalid('Scope', `one of ${scopes.join(', ')}`, value);
}

function invalid(type: string, expected: string, found: unknown): GraphQLError {
  const text =
    typeof found === 'bigint' ? found.toString() : ((JSON.stringify(found) as string | undefined) ?? typeof found);
  return new GraphQLError(`${type} expects ${expected}; found ${text.length > 80 ? `${text.slice(0, 77)}...` : text}.`);
}
