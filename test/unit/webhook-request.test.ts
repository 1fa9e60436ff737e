import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { checkWebhookAddress } from '../../src/domain/webhook-address.ts';
import { isPublicAddress } from '../../src/network/public-address.ts';
import { postWebhook } from '../../src/worker/webhook-request.ts';

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

  it('does not follow a name to a private address, however innocent the name', async () => {
    const url = `http://localhost:${String((server.address() as AddressInfo).port)}/`;
    const refused = { policy: { allowHttp: true, privateHosts: [] }, timeoutMs: 2_000 };
    await expect(postWebhook(url, message, refused)).rejects.toThrow(/does not lead to public addresses/);
    expect(asked).toBe(0);
    expect(
      await postWebhook(url, message, { ...refused, policy: { allowHttp: true, privateHosts: ['localhost'] } }),
    ).toBe(200);
    expect(asked).toBe(1);
  });
});
