import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createAuthenticator } from '../../../src/auth/authenticator.ts';
import { localIssuer } from '../../../src/auth/local-issuer.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'flux-issuer-'));
});
afterEach(async () => {
  await rm(home, { recursive: true });
});

const claims = { agency: 'nasa', role: 'operator', subject: 'user@example.gov', minutes: 60 } as const;

describe('the local issuer', () => {
  it('signs tokens that its own API takes, with the claims asked for', async () => {
    const issuer = await localIssuer(home);
    const authenticator = createAuthenticator({
      environment: 'development',
      issuers: [],
      audience: 'flux',
      localIssuer: issuer,
    });
    const principal = await authenticator.authenticate(await issuer.sign({ ...claims, clearance: 'TS' }, 'flux'));
    expect(principal).toMatchObject({ agency: 'nasa', role: 'operator', subject: 'user@example.gov', clearance: 4 });
    await expect(authenticator.authenticate(await issuer.sign(claims, 'other'))).rejects.toThrow();
  });

  it('gives away only the public half of its key', async () => {
    const { jwks } = await localIssuer(home);
    expect(Object.keys(jwks.keys[0] ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  });

  it('is one issuer for processes that start together, its key readable by the owner alone', async () => {
    const issuers = await Promise.all(Array.from({ length: 8 }, () => localIssuer(home)));
    expect(new Set(issuers.map(({ jwks }) => jwks.keys[0]?.kid)).size).toBe(1);
    expect(await readdir(path.join(home, 'issuer'))).toEqual(['key.json']);
    expect((await stat(path.join(home, 'issuer', 'key.json'))).mode & 0o777).toBe(0o600);
  });

  it('says what to do when its key is damaged or its folder cannot be written', async () => {
    await localIssuer(home);
    await writeFile(path.join(home, 'issuer', 'key.json'), '{');
    await expect(localIssuer(home)).rejects.toThrow(/Remove it/);
    await writeFile(path.join(home, 'file'), '');
    await expect(localIssuer(path.join(home, 'file'))).rejects.toThrow(/FLUX_HOME|Remove it/);
  });
});
