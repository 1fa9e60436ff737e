import type { Contract, ContractSchema } from './contract.ts';

const single = ['additionalProperties', 'propertyNames', 'items', 'contains', 'not', 'if', 'then', 'else'] as const;
const lists = ['allOf', 'anyOf', 'oneOf', 'prefixItems'] as const;
const maps = ['properties', 'patternProperties', 'dependentSchemas'] as const;

/** Keywords that check nothing. */
export const noteKeywords: readonly string[] = ['$comment', 'title', 'description', 'examples', 'deprecated', '$id'];

/**
 * The contract with every `$ref` replaced by what it points at and without `$defs`, so that two contracts can be compared part by
 * part. `validateContract` has seen that references are local, lead somewhere, and end.
 */
export function inlined(contract: Contract): ContractSchema {
  const root = contract as ContractSchema;
  const walk = (schema: ContractSchema): ContractSchema => {
    if (typeof schema === 'boolean') return schema;
    const { $ref, $defs: _defs, ...rest } = schema;
    const copy: Record<string, unknown> = { ...rest };
    for (const keyword of single) if (rest[keyword] !== undefined) copy[keyword] = walk(rest[keyword]);
    for (const keyword of lists) if (rest[keyword] !== undefined) copy[keyword] = rest[keyword].map(walk);
    for (const keyword of maps) {
      if (rest[keyword] === undefined) continue;
      copy[keyword] = Object.fromEntries(Object.entries(rest[keyword]).map(([name, each]) => [name, walk(each)]));
    }
    if ($ref === undefined) return copy;
    const target = walk(pointedAt(root, $ref));
    if (Object.keys(copy).every((keyword) => noteKeywords.includes(keyword)))
      return typeof target === 'boolean' ? target : { ...target, ...copy };
    const all = [...((copy['allOf'] as ContractSchema[] | undefined) ?? []), target];
    return { ...copy, allOf: all };
  };
  return walk(root);
}

function pointedAt(root: ContractSchema, reference: string): ContractSchema {
  const steps = reference.split('/').slice(1);
  return steps.reduce<unknown>((at, step) => {
    const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
    return (at as Record<string, unknown>)[name];
  }, root) as ContractSchema;
}
