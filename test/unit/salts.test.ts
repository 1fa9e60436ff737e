import { describe, expect, it } from 'vitest';
import { saltsOf } from '../../src/salts.ts';

const root = Buffer.alloc(32, 1);
const linkage = { study: { agencies: ['hhs', 'va'], salt: Buffer.alloc(32, 2) } };

describe('salts of hashed identifiers', () => {
  const saltOf = saltsOf({ root: () => root, linkage });

  it('are each agency’s own, always the same, and no key that anybody was given', () => {
    expect(saltOf('hhs', 'agency')).toEqual(saltOf('hhs', 'agency'));
    expect(saltOf('hhs', 'agency')).not.toEqual(saltOf('va', 'agency'));
    expect(saltOf('hhs', 'agency')).not.toEqual(root);
  });

  it('of a linkage are shared by the agencies that it names, and by nobody else', () => {
    expect(saltOf('hhs', 'linkage:study')).toEqual(saltOf('va', 'linkage:study'));
    for (const name of ['linkage:study', 'linkage:absent', 'linkage:toString', 'constructor']) {
      expect(() => saltOf('nasa', name)).toThrow(expect.objectContaining({ code: 'KEY_UNAVAILABLE' }));
    }
  });

  it('are missing where the operator gave none', () => {
    const none = saltsOf({ root: () => null, linkage: {} });
    expect(() => none('hhs', 'agency')).toThrow(/FLUX_SALT_KEY is missing/);
  });
});
