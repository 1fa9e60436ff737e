import { getFips } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { publicKeyOf } from '../../src/audit/signed-note.ts';
import { loadConfig, requireIssuers } from '../../src/config.ts';
import { FluxError } from '../../src/errors.ts';

const key = 'ab'.repeat(32);
const issuer = { issuer: 'https://id.example.gov', jwksUri: 'https://id.example.gov/jwks', agencies: ['nasa'] };
const production = {
  NODE_ENV: 'production',
  FLUX_CONTEXT_KEY: key,
  FLUX_DATA_KEY: key,
  FLUX_ISSUERS: JSON.stringify([issuer]),
};

let home: string;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'flux-config-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function problemsOf(env: NodeJS.ProcessEnv): string[] {
  try {
    loadConfig(env);
  } catch (cause) {
    if (cause instanceof FluxError && cause.code === 'CONFIG_INVALID') return cause.details['problems'] as string[];
    throw cause;
  }
  return [];
}

describe('in development', () => {
  test('everything has a default', () => {
    expect(loadConfig({ FLUX_HOME: home })).toMatchObject({
      environment: 'development',
      home,
      host: '127.0.0.1',
      port: 4000,
      metricsPort: 9464,
      workers: 2,
      issuers: [],
      objectStoreFolder: path.join(home, 'objects'),
      sourceRoots: {},
      logLevel: 'info',
    });
  });

  test('a missing key is made when it is first read, kept for the next time, and closed to others', () => {
    const config = loadConfig({ FLUX_HOME: path.join(home, 'new') });
    expect(() => statSync(path.join(home, 'new'))).toThrow();
    expect(config.contextKey).toHaveLength(32);
    expect(config.contextKey.equals(config.dataKey)).toBe(false);
    expect(loadConfig({ FLUX_HOME: path.join(home, 'new') }).contextKey).toEqual(config.contextKey);
    expect(statSync(path.join(home, 'new', 'keys', 'context-key')).mode & 0o777).toBe(0o600);
    expect(statSync(path.join(home, 'new', 'keys')).mode & 0o777).toBe(0o700);
  });

  test('a kept key that was damaged is refused, not replaced', () => {
    const config = loadConfig({ FLUX_HOME: home });
    expect(config.dataKey).toHaveLength(32);
    writeFileSync(path.join(home, 'keys', 'data-key'), 'damaged');
    expect(() => loadConfig({ FLUX_HOME: home }).dataKey).toThrow(/should hold 32 bytes/);
  });
});

test('every problem is said at once, each with its name', () => {
  const problems = problemsOf({
    FLUX_PORT: 'four thousand',
    FLUX_WORKERS: '-1',
    DATABASE_URL: 'mysql://localhost/x',
    REDIS_URL: 'https://localhost',
    FLUX_ISSUERS: '{',
    FLUX_CONTEXT_KEY: 'short',
    FLUX_SOURCE_ROOTS: '{"Not A Slug":["/data"]}',
    FLUX_OBJECT_STORE: 'ftp://bucket',
    LOG_LEVEL: 'loud',
    FLUX_TRUSTED_DOCUMENTS: '/documents',
  });
  for (const name of [
    'FLUX_PORT',
    'FLUX_WORKERS',
    'DATABASE_URL',
    'REDIS_URL',
    'FLUX_ISSUERS',
    'FLUX_CONTEXT_KEY',
    'FLUX_SOURCE_ROOTS',
    'FLUX_OBJECT_STORE',
    'LOG_LEVEL',
    'FLUX_TRUSTED_DOCUMENTS',
  ]) {
    expect(
      problems.filter((problem) => problem.startsWith(name)),
      name,
    ).not.toHaveLength(0);
  }
});

test('production asks for the keys, and for exactly one source of each issuer’s keys', () => {
  expect(problemsOf({ NODE_ENV: 'production', FLUX_ISSUERS: '[{"issuer":"x","agencies":["nasa"]}]' })).toEqual([
    expect.stringContaining('FLUX_CONTEXT_KEY is missing'),
    expect.stringContaining('FLUX_DATA_KEY is missing'),
    expect.stringContaining('either jwksUri or jwks'),
  ]);
  expect(problemsOf({ ...production, FLUX_ISSUERS: JSON.stringify([{ ...issuer, jwksUri: 'http://id' }]) })).toEqual([
    expect.stringContaining('https in production'),
  ]);
});

test('production reaches a Redis beyond this machine by TLS only, unless its network is said to protect itself', () => {
  const plain = 'redis://:secret@redis.example.gov:6379';
  expect(problemsOf({ ...production, REDIS_URL: plain })).toEqual([expect.stringContaining('REDIS_URL leaves')]);
  expect(loadConfig({ ...production, REDIS_URL: plain, FLUX_PLAIN_DATABASE: 'allow' }).redisUrl).toBe(plain);
  for (const url of ['rediss://:secret@redis.example.gov:6379', 'redis://127.0.0.1:6379']) {
    expect(loadConfig({ ...production, REDIS_URL: url }).redisUrl).toBe(url);
  }
});

test('production without a trusted issuer serves nobody', () => {
  expect(() => requireIssuers(loadConfig({ ...production, FLUX_ISSUERS: '' }))).toThrow(/FLUX_ISSUERS is missing/);
  requireIssuers(loadConfig(production));
  requireIssuers(loadConfig({ ...production, FLUX_ISSUERS: '[]' }));
  requireIssuers(loadConfig({ FLUX_HOME: home }));
});

describe('keys', () => {
  test.each([
    ['hex', key],
    ['base64', Buffer.from(key, 'hex').toString('base64')],
    ['base64 without padding', Buffer.from(key, 'hex').toString('base64url')],
  ])('are read as %s', (_name, text) => {
    expect(loadConfig({ ...production, FLUX_CONTEXT_KEY: text }).contextKey.toString('hex')).toBe(key);
  });
});

describe('secrets from files', () => {
  test('are read and trimmed', () => {
    const file = path.join(home, 'secret');
    writeFileSync(file, `${key}\n`);
    const { FLUX_DATA_KEY: _given, ...rest } = production;
    expect(loadConfig({ ...rest, FLUX_DATA_KEY_FILE: file }).dataKey.toString('hex')).toBe(key);
  });

  test('are refused beside the value itself, and when the file cannot be read', () => {
    const file = path.join(home, 'secret');
    writeFileSync(file, key);
    expect(problemsOf({ ...production, FLUX_DATA_KEY_FILE: file })).toEqual([expect.stringContaining('both set')]);
    expect(problemsOf({ FLUX_HOME: home, DATABASE_URL_FILE: path.join(home, 'none') })).toEqual([
      expect.stringContaining('ENOENT'),
    ]);
  });
});

test('source roots and the object store become absolute folders', () => {
  const config = loadConfig({
    FLUX_HOME: home,
    FLUX_SOURCE_ROOTS: JSON.stringify({ nasa: ['data', '/abs'] }),
    FLUX_OBJECT_STORE: 'file:///var/objects',
  });
  expect(config.sourceRoots).toEqual({ nasa: [path.resolve('data'), '/abs'] });
  expect(config.objectStoreFolder).toBe('/var/objects');
});

test('the object store may be a bucket, entered with keys of its own or the machine’s', () => {
  const url = 's3://flux-objects/some/where?region=us-gov-west-1';
  const { objectStoreFolder, objectStoreBucket } = loadConfig({ FLUX_HOME: home, FLUX_OBJECT_STORE: url });
  expect(objectStoreFolder).toBe(path.join(home, 'object-copies'));
  expect(objectStoreBucket).toEqual({
    bucket: 'flux-objects',
    prefix: 'some/where/',
    region: 'us-gov-west-1',
    cacheBytesMax: 20 * 2 ** 30,
  });
  const endpoint = encodeURIComponent('https://objects.example.gov:9000');
  const given = loadConfig({
    FLUX_HOME: home,
    FLUX_OBJECT_STORE: `s3://flux-objects?region=any-1&endpoint=${endpoint}`,
    FLUX_OBJECT_STORE_KEY_ID: 'id',
    FLUX_OBJECT_STORE_KEY: 'secret',
    FLUX_OBJECT_CACHE_BYTES: '1048576',
  });
  expect(given.objectStoreBucket).toEqual({
    bucket: 'flux-objects',
    prefix: '',
    region: 'any-1',
    endpoint: 'https://objects.example.gov:9000',
    credentials: { accessKeyId: 'id', secretAccessKey: 'secret' },
    cacheBytesMax: 1_048_576,
  });
});

test.each([
  ['no region', { FLUX_OBJECT_STORE: 's3://flux-objects/x' }, /names no region/],
  ['an unknown part', { FLUX_OBJECT_STORE: 's3://flux-objects/x?region=us-east-1&acl=public' }, /should be s3:/],
  ['no bucket', { FLUX_OBJECT_STORE: 's3://?region=us-east-1' }, /should be s3:/],
  [
    'an endpoint that is none',
    { FLUX_OBJECT_STORE: 's3://flux-objects?region=us-east-1&endpoint=ftp://x' },
    /endpoint/,
  ],
  ['half a key', { FLUX_OBJECT_STORE_KEY_ID: 'id' }, /FLUX_OBJECT_STORE_KEY is missing/],
  ['the other half', { FLUX_OBJECT_STORE_KEY: 'secret' }, /FLUX_OBJECT_STORE_KEY_ID is missing/],
  [
    'a plain endpoint in production',
    { ...production, FLUX_OBJECT_STORE: 's3://flux-objects?region=us-east-1&endpoint=http://10.0.0.1:9000' },
    /leaves this machine without TLS/,
  ],
])('an object store with %s is refused', (_name, settings, expected) => {
  expect(problemsOf({ FLUX_HOME: home, ...settings })).toEqual([expect.stringMatching(expected)]);
});

test('a name that looks like ours and is not is a warning, because it has no effect', () => {
  expect(loadConfig({ FLUX_HOME: home, FLUX_PROT: '1' }).warnings).toEqual([
    'FLUX_PROT is no setting of Flux and has no effect',
  ]);
});

test('FIPS mode that was asked for and is absent refuses to start, and says what to do', () => {
  expect(getFips(), 'this Node has no FIPS provider').toBe(0);
  expect(() => loadConfig({ FLUX_HOME: home, FLUX_FIPS: '1' })).toThrow(
    /FLUX_FIPS is 1.*getFips\(\) is 0.*--enable-fips/,
  );
  expect(() => loadConfig({ FLUX_HOME: home, FLUX_FIPS: 'yes' })).toThrow(/FLUX_FIPS should be 1/);
  loadConfig({ FLUX_HOME: home, FLUX_FIPS: '0' });
});

test('the audit log is signed with Ed25519 or ECDSA, and verified with the keys of either', () => {
  const ed25519 = 'ab'.repeat(32);
  const ecdsa = publicKeyOf(Buffer.alloc(32, 7), 'ecdsa-p256');
  const config = loadConfig({
    FLUX_HOME: home,
    FLUX_AUDIT_ALGORITHM: 'ecdsa-p256',
    FLUX_AUDIT_PUBLIC_KEY: `${ecdsa.toString('base64')},${ed25519}`,
  });
  expect(config.auditAlgorithm).toBe('ecdsa-p256');
  expect(config.auditPublicKeys).toEqual([ecdsa, Buffer.from(ed25519, 'hex')]);
  expect(loadConfig({ FLUX_HOME: home })).toMatchObject({ auditAlgorithm: 'ed25519', auditPublicKeys: [] });
  const other = Buffer.from(ecdsa);
  other[90]! ^= 1; // no point of the curve
  expect(() =>
    loadConfig({ FLUX_HOME: home, FLUX_AUDIT_ALGORITHM: 'rsa', FLUX_AUDIT_PUBLIC_KEY: other.toString('hex') }),
  ).toThrow(/FLUX_AUDIT_ALGORITHM should be ed25519 or ecdsa-p256; FLUX_AUDIT_PUBLIC_KEY should be public keys/);
  // Said of the same problem in FIPS mode, where the provider is missing too.
  expect(() => loadConfig({ FLUX_HOME: home, FLUX_FIPS: '1', FLUX_AUDIT_ALGORITHM: 'ed25519' })).toThrow(
    /FLUX_AUDIT_ALGORITHM is ed25519, which FIPS mode has not/,
  );
});

test('production refuses a database beyond this machine without verified TLS, unless that is allowed', () => {
  const remote = 'postgres://flux:x@db.example.gov/flux';
  for (const [url, refused] of [
    [remote, true],
    [`${remote}?sslmode=require`, true],
    [`${remote}?sslmode=verify-full&sslrootcert=/ca.pem`, false],
    ['postgres://flux:x@127.0.0.1:5432/flux', false],
    ['postgres://flux:x@[::1]/flux', false],
    ['postgres://flux@/flux?host=/var/run/postgresql', false],
    ['postgres://flux@localhost.example.gov/flux', true],
  ] as const) {
    const problems = problemsOf({ ...production, FLUX_API_DATABASE_URL: url });
    expect(
      problems.some((problem) => problem.startsWith('FLUX_API_DATABASE_URL leaves')),
      url,
    ).toBe(refused);
  }
  expect(problemsOf({ ...production, DATABASE_URL: remote, FLUX_PLAIN_DATABASE: 'allow' })).toEqual([]);
  expect(problemsOf({ DATABASE_URL: remote })).toEqual([]);
});

test('a certificate without its key, or a key without its certificate, is a problem', () => {
  expect(problemsOf({ FLUX_HOME: home, FLUX_TLS_CERT: '/cert.pem' })).toEqual([
    expect.stringContaining('FLUX_TLS_CERT and FLUX_TLS_KEY belong together'),
  ]);
});
