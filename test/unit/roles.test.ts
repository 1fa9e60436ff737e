import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { agencyRole, lakeSchema, platformRoles, rolePassword, rolePrefix, shorten } from '../../src/db/roles.ts';

const slug = fc.stringMatching(/^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/);
const byteCount = (text: string): number => Buffer.byteLength(text);

describe('names of roles and lakes', () => {
  test('are plain in a database called flux, and carry the database’s name elsewhere', () => {
    expect(platformRoles(rolePrefix('flux')).api).toBe('flux_api');
    expect(platformRoles(rolePrefix('prod-1')).api).toBe('flux_prod_1_api');
    expect(agencyRole('flux', 'national-archives', 'rw')).toBe('flux_national_archives_rw');
    expect(agencyRole('Other', 'nasa', 'ro')).toBe('flux_other_nasa_ro');
    expect(lakeSchema('national-archives')).toBe('lake_national_archives');
  });

  test('law: they fit PostgreSQL’s 63 bytes and keep their ending', () => {
    fc.assert(
      fc.property(slug, fc.stringMatching(/^[a-z_]{1,63}$/), (agency, database) => {
        for (const access of ['rw', 'ro'] as const) {
          const role = agencyRole(database, agency, access);
          expect(byteCount(role)).toBeLessThanOrEqual(63);
          expect(role.endsWith(`_${access}`)).toBe(true);
        }
        expect(byteCount(lakeSchema(agency))).toBeLessThanOrEqual(63);
        for (const role of Object.values(platformRoles(rolePrefix(database)))) {
          expect(byteCount(role)).toBeLessThanOrEqual(63);
        }
      }),
    );
  });

  test('law: two long names that differ anywhere stay two names', () => {
    const base = 'a'.repeat(80);
    fc.assert(
      fc.property(fc.nat({ max: 79 }), (at) => {
        expect(shorten(`${base.slice(0, at)}b${base.slice(at + 1)}_rw`)).not.toBe(shorten(`${base}_rw`));
      }),
    );
  });

  test('a name that fits is left alone', () => {
    expect(shorten('flux_nasa_rw')).toBe('flux_nasa_rw');
  });
});

describe('passwords of roles', () => {
  const key = createHash('sha256').update('key').digest();

  test('follow from the key and the role, and from both', () => {
    expect(rolePassword(key, 'flux_api')).toBe(rolePassword(key, 'flux_api'));
    expect(rolePassword(key, 'flux_api')).toMatch(/^[0-9a-f]{64}$/);
    expect(rolePassword(key, 'flux_api')).not.toBe(rolePassword(key, 'flux_worker'));
    expect(rolePassword(Buffer.alloc(32), 'flux_api')).not.toBe(rolePassword(key, 'flux_api'));
  });
});
