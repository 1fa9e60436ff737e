import {
  getNamedType,
  getNullableType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLNamedOutputType,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  isUnionType,
} from 'graphql';

import type { Random } from './random.ts';

/** Whose things an operation names. */
export type Whose = 'own' | 'foreign' | 'unknown';

/** One operation, whose arguments that name things are open: the same text is asked with own, foreign and unknown ones. */
export interface GeneratedOperation {
  kind: 'query' | 'mutation' | 'subscription';
  field: string;
  query: string;
  /** Whether it names anything. */
  names: boolean;
  variables(whose: Whose): Record<string, unknown>;
}

/**
 * What an argument or input field may be given, by the place that it has: `Query.run.id`, `CancelRunInput.runId`. Null: any value of
 * the type. One text for each kind of owner, so that the foreign and the unknown have the same form.
 */
export type Naming = (place: string, random: Random) => Record<Whose, unknown> | null;

const depthMax = 4;
const fieldsMax = 6;

/** Makes an operation of one root field: arguments by type, and a selection of what hangs on it. */
export function generateOperation(
  schema: GraphQLSchema,
  { kind, field }: { kind: GeneratedOperation['kind']; field: GraphQLField<unknown, unknown> },
  { random, naming }: { random: Random; naming: Naming },
): GeneratedOperation {
  const root = `${kind[0]?.toUpperCase() ?? ''}${kind.slice(1)}`;
  let names = false;
  const open = (place: string): ((whose: Whose) => unknown) | null => {
    const named = naming(place, random);
    if (named) names = true;
    return named && ((whose) => named[whose]);
  };
  const given = field.args
    .filter((arg) => isRequiredArgument(arg) || random.chance(0.6))
    .map((arg) => ({ arg, value: valueOf(arg, `${root}.${field.name}.${arg.name}`) }));

  function valueOf(of: GraphQLArgument | GraphQLInputField, place: string): (whose: Whose) => unknown {
    return open(place) ?? anyOf(of.type, place);
  }
  function anyOf(type: GraphQLInputType, place: string): (whose: Whose) => unknown {
    if (isNonNullType(type)) return anyOf(type.ofType, place);
    if (isListType(type)) {
      const items = Array.from({ length: 1 + random.below(2) }, () => anyOf(type.ofType, place));
      return (whose) => items.map((item) => item(whose));
    }
    if (isEnumType(type)) {
      const value = random.pick(type.getValues()).name;
      return () => value;
    }
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields())
        .filter((one) => isRequiredInputField(one) || random.chance(0.5))
        .map((one) => [one.name, valueOf(one, `${type.name}.${one.name}`)] as const);
      return (whose) => Object.fromEntries(fields.map(([name, value]) => [name, value(whose)]));
    }
    const value = scalarOf(type.name, place, random);
    return () => value;
  }

  const declared = given.map(({ arg }) => `$${arg.name}: ${String(arg.type)}`).join(', ');
  const passed = given.map(({ arg }) => `${arg.name}: $${arg.name}`).join(', ');
  const selection = selectionOf(schema, getNamedType(field.type), random, { depth: 0, beside: false });
  return {
    kind,
    field: field.name,
    query: `${kind} Fuzz${declared && `(${declared})`} { ${field.name}${passed && `(${passed})`}${selection} }`,
    names,
    variables: (whose) => Object.fromEntries(given.map(({ arg, value }) => [arg.name, value(whose)])),
  };
}

function scalarOf(type: string, place: string, random: Random): unknown {
  switch (type) {
    case 'Int':
      return place.endsWith('.first') ? random.pick([1, 2, 5, 0, -1, 201]) : random.pick([1, 2, 4, 0, -1, 3_600]);
    case 'BigInt':
      return random.pick(['1', '2', '3', '0', '-1', '9007199254740993']);
    case 'Boolean':
      return random.chance(0.5);
    case 'DateTime':
      return random.pick(['2020-01-01T00:00:00Z', '2100-01-01T00:00:00Z']);
    case 'JSON':
      return random.pick<unknown>([{}, { a: 1 }, [], 'text', null]);
    default:
      return random.pick(['', 'x', 'text of a caller', '%', "' or 1=1 --", '\u0000', '*']);
  }
}

function selectionOf(schema: GraphQLSchema, type: GraphQLNamedOutputType, random: Random, at: Place): string {
  if (isLeafType(type)) return '';
  if (isUnionType(type) || isInterfaceType(type)) {
    const types = schema.getPossibleTypes(type);
    const parts = someOf(types, at.depth === 0 ? 6 : 3, random).map(
      (one) => `... on ${one.name}${selectionOf(schema, one, random, { depth: at.depth + 1, beside: true })}`,
    );
    return ` { __typename ${parts.join(' ')} }`;
  }
  if (!isObjectType(type)) return '';
  const fields = someOf(Object.values(type.getFields()), at.beside ? fieldsMax - 2 : fieldsMax, random)
    .map((field) => fieldOf(schema, field, random, at))
    .filter((text) => text !== null);
  return ` { __typename ${fields.join(' ')} }`;
}

interface Place {
  depth: number;
  /** Stands in a fragment: another beside it may have a field of the same name and another type, which does not merge. */
  beside: boolean;
}

function fieldOf(
  schema: GraphQLSchema,
  field: GraphQLField<unknown, unknown>,
  random: Random,
  { depth, beside }: Place,
): string | null {
  const type = getNamedType(field.type);
  if (!isLeafType(type) && depth >= depthMax) return null;
  const args = field.args
    .filter((arg) => isRequiredArgument(arg) || arg.name === 'first')
    .map((arg) => {
      const named = getNullableType(arg.type);
      if (arg.name === 'first') return 'first: 2';
      // One and the same choice everywhere, so that equal fields merge.
      return isEnumType(named) ? `${arg.name}: ${named.getValues()[0]?.name ?? ''}` : null;
    });
  if (args.includes(null)) return null;
  const alias = beside && typesOf(schema, field.name).size > 1 ? `${aliasOf(field)}: ` : '';
  const selection = selectionOf(schema, type, random, { depth: depth + 1, beside });
  return `${alias}${field.name}${args.length > 0 ? `(${args.join(', ')})` : ''}${selection}`;
}

function aliasOf({ name, type }: GraphQLField<unknown, unknown>): string {
  return `${name}_${String(type).replaceAll(/[^A-Za-z]/g, (sign) => (sign === '!' ? 'N' : 'L'))}`;
}

const typesByName = new Map<string, Set<string>>();

/** Every type that fields of this name have. */
function typesOf(schema: GraphQLSchema, name: string): Set<string> {
  const known = typesByName.get(name);
  if (known) return known;
  const types = Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type))
    .flatMap((type) => type.getFields()[name]?.type ?? [])
    .map(String);
  const all = new Set(types);
  typesByName.set(name, all);
  return all;
}

function someOf<T>(from: readonly T[], max: number, random: Random): T[] {
  if (from.length <= max) return [...from];
  const rest = [...from];
  return Array.from({ length: max }, () => rest.splice(random.below(rest.length), 1)[0] as T);
}
