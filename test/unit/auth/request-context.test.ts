import { createHmac } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import type { Principal } from '../../../src/auth/principal.ts';
import { createRequestContext } from '../../../src/auth/request-context.ts';
import { scopesOf } from '../../../src/auth/roles.ts';

const seal = { keyId: 'k1', key: Buffer.alloc(32, 7) };
const expiresAt = new Date('2026-08-01T12:10:00.900Z');
const principal: Principal = {
  subject: 'ada@example.gov',
  agency: 'nasa',
  role: 'operator',
  scopes: scopesOf('operator'),
  clearance: 2,
  tokenId: 't1',
  issuedAt: new Date('2026-08-01T12:00:00Z'),
  expiresAt,
  issuer: 'https://login.example.gov',
};

function contextAt(time: string) {
  return createRequestContext({
    principal,
    seal,
    requestId: 'r1',
    traceId: 'a'.repeat(32),
    ip: '127.0.0.1',
    userAgent: null,
    signal: new AbortController().signal,
    now: () => Date.parse(time),
  });
}

describe('a sealed context', () => {
  it('says who asks, until 60 seconds from now, under the seal', () => {
    const sealed = contextAt('2026-08-01T12:00:00.500Z').sealed();
    const [agency, role, clearance, expiry, keyId, mac] = sealed.split('|');
    expect([agency, role, clearance, keyId]).toEqual(['nasa', 'operator', '2', 'k1']);
    expect(Number(expiry)).toBe(Date.parse('2026-08-01T12:01:00Z') / 1000);
    const text = sealed.slice(0, sealed.lastIndexOf('|'));
    expect(mac).toBe(createHmac('sha256', seal.key).update(text).digest('hex'));
  });

  it('never outlasts the token', () => {
    const expiry = contextAt('2026-08-01T12:09:50Z').sealed().split('|')[3];
    expect(Number(expiry)).toBe(Date.parse('2026-08-01T12:10:00Z') / 1000);
  });

  it('is refused once the token has ended', () => {
    expect(() => contextAt('2026-08-01T12:10:00.000Z').sealed()).toThrow(/expired/);
  });

  it('comes in a context that nobody can change', () => {
    expect(Object.isFrozen(contextAt('2026-08-01T12:00:00Z'))).toBe(true);
  });
});
