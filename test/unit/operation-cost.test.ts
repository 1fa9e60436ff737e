import { parse, type OperationDefinitionNode } from 'graphql';
import { describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { costMax, operationCost } from '../../src/server/operation-cost.ts';
import { rootDocument } from '../../src/server/rest/root-document.ts';

function costOf(query: string, variables: Record<string, unknown> = {}): number {
  const document = parse(query);
  return operationCost({ schema, document, operation: document.definitions[0] as OperationDefinitionNode, variables });
}

describe('the cost of an operation', () => {
  it('is the objects that its page sizes ask for', () => {
    expect(costOf('{ viewer { agency } }')).toBe(1);
    expect(costOf('{ runs(first: 200) { edges { node { id } } } }')).toBe(1 + 200 * 2);
    expect(costOf('query ($n: Int) { runs(first: $n) { edges { cursor } } }', { n: 7 })).toBe(1 + 7);
  });

  it('counts a field that reads far more than it gives as many objects, so that a page of them is refused', () => {
    const verified = (first: number) =>
      costOf(`{ runs(first: ${String(first)}) { edges { node { checkpointVerification { intact: __typename } } } } }`);
    expect(verified(1)).toBe(1 + 2 + 50);
    expect(verified(200)).toBeGreaterThan(costMax);
  });

  it('is within the limit for the largest page of every list that REST and the SDK derive', () => {
    for (const field of Object.values(schema.getQueryType()?.getFields() ?? {})) {
      const document = rootDocument(schema, 'query', field, { name: 'Any', mayRead: () => true });
      expect(costOf(document, { first: 200 }), field.name).toBeLessThanOrEqual(costMax);
    }
    const runs = schema.getQueryType()?.getFields()['runs'];
    if (!runs) throw new Error('the schema has no runs');
    expect(rootDocument(schema, 'query', runs, { name: 'Any', mayRead: () => true })).not.toContain('Verification');
  });
});
