import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { checkWebhookAddress } from '../../src/domain/webhook-address.ts';
import type { ResolveName } from '../../src/network/guarded-lookup.ts';
import { isPublicAddress } from '../../src/network/public-address.ts';
import { postWebhook } from '../../src/worker/webhook-request.ts';
import { type Authority, createAuthority } from '../support/certificates.ts';

describe('a webhook’s address', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.255.255',
    '192.168.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '198.18.0.1',
    '224.0.0.1',
    '::',
    '::1',
    'fe80::1',
    'fc00::1',
    'ff02::1',
    '::ffff:8.8.8.8',
    '64:ff9b::a00:1',
    '2002:a00:1::',
    '2001:db8::1',
    'name',
  ])('%s is not public', (address) => expect(isPublicAddress(address)).toBe(false));

  it.each(['8.8.8.8', '172.32.0.1', '192.167.255.255', '100.128.0.1', '2606:4700::1111', '2a00:1450::1'])(
    '%s is public',
    (address) => expect(isPublicAddress(address)).toBe(true),
  );

  it('is https alone in production', () => {
    const production = { allowHttp: false, privateHosts: [] };
    expect(() => checkWebhookAddress('http://example.gov/', production)).toThrow(/https:/);
    expect(checkWebhookAddress('https://example.gov/hook', production).href).toBe('https://example.gov/hook');
    expect(checkWebhookAddress('https://10.0.0.7/', { ...production, privateHosts: ['10.0.0.7'] }).hostname).toBe(
      '10.0.0.7',
    );
  });
});

describe('a request', () => {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    response.end();
  });
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  const message = { id: 'id', body: '{}', secrets: [Buffer.alloc(32)] };
  const url = (host: string): string => `http://${host}:${String((server.address() as AddressInfo).port)}/`;
  const strict = { policy: { allowHttp: true, privateHosts: [] }, timeoutMs: 30_000 };

  it('does not follow a name to a private address, however innocent the name', async () => {
    await expect(postWebhook(url('localhost'), message, strict)).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    expect(asked).toBe(0);
    const allowed = { ...strict, policy: { allowHttp: true, privateHosts: ['localhost'] } };
    expect(await postWebhook(url('localhost'), message, allowed)).toBe(200);
    expect(asked).toBe(1);
  });

  it('connects to what was checked, without asking again what the name means (DNS rebinding)', async () => {
    const before = asked;
    const names: string[] = [];
    /** Says an address that may be reached at first, and afterwards another. */
    const rebinding =
      (...answers: string[]): ResolveName =>
      (name, _options, callback) => {
        names.push(name);
        callback(null, [
          { address: answers.length > 1 ? (answers.shift() as string) : (answers[0] as string), family: 4 },
        ]);
      };
    const trusted = { ...strict, policy: { allowHttp: true, privateHosts: ['hooks.example.gov'] } };
    const resolve = rebinding('127.0.0.1', '127.0.0.2');
    expect(await postWebhook(url('hooks.example.gov'), message, { ...trusted, resolve })).toBe(200);
    expect(names).toEqual(['hooks.example.gov']);
    // The next request asks anew, and what the name means then is checked then.
    const later = rebinding('8.8.8.8', '127.0.0.1');
    later('rebound.example.gov', { all: true }, () => undefined);
    await expect(postWebhook(url('rebound.example.gov'), message, { ...strict, resolve: later })).rejects.toMatchObject(
      { code: 'ADDRESS_REFUSED' },
    );
    expect(asked).toBe(before + 1);
  });

  it('goes nowhere when one of a name’s addresses is private, though others are public', async () => {
    const before = asked;
    const mixed: ResolveName = (_name, _options, callback) => {
      callback(null, [
        { address: '8.8.8.8', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ]);
    };
    await expect(postWebhook(url('mixed.example.gov'), message, { ...strict, resolve: mixed })).rejects.toMatchObject({
      code: 'ADDRESS_REFUSED',
    });
    expect(asked).toBe(before);
  });

  it('ends in time where a name is never answered for', async () => {
    const silent: ResolveName = () => undefined;
    await expect(
      postWebhook(url('silent.example.gov'), message, { ...strict, timeoutMs: 50, resolve: silent }),
    ).rejects.toMatchObject({ name: 'TimeoutError' });
  });
});

describe('a receiver’s certificate', () => {
  const message = { id: 'id', body: '{}', secrets: [Buffer.alloc(32)] };
  const policy = { allowHttp: false, privateHosts: ['hooks.example.gov'] };
  const home: ResolveName = (_name, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]);
  const trusted = getCACertificates('default');
  let authority: Authority;
  beforeAll(async () => {
    authority = await createAuthority('a test’s authority');
    setDefaultCACertificates([...trusted, authority.ca]);
  });
  afterAll(() => setDefaultCACertificates(trusted));

  /** @returns the status or the code of what went wrong, and how many requests came through */
  async function post(certificate: { cert: string; key: string }): Promise<[status: unknown, came: number]> {
    let came = 0;
    const server = createTlsServer(certificate, (_request, response) => {
      came += 1;
      response.end();
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = `https://hooks.example.gov:${String((server.address() as AddressInfo).port)}/`;
    const outcome = await postWebhook(address, message, { policy, timeoutMs: 30_000, resolve: home }).catch(
      (cause: unknown) => (cause as { code: string }).code,
    );
    await new Promise((resolve) => server.close(resolve));
    return [outcome, came];
  }

  it('is good when it is for the name, in its time, of an authority that is trusted', async () => {
    expect(await post(await authority.issue({ dns: 'hooks.example.gov' }))).toEqual([200, 1]);
  });

  it('of another name, of yesterday, or of nobody that is trusted, lets nothing through', async () => {
    const other = await authority.issue({ dns: 'evil.example.gov' });
    expect(await post(other)).toEqual(['ERR_TLS_CERT_ALTNAME_INVALID', 0]);
    const day = 86_400_000;
    const expired = await authority.issue({ dns: 'hooks.example.gov', until: new Date(Date.now() - day) });
    expect(await post(expired)).toEqual(['CERT_HAS_EXPIRED', 0]);
    const stranger = await (await createAuthority('nobody')).issue({ dns: 'hooks.example.gov' });
    expect(await post(stranger)).toEqual(['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 0]);
  });
});
