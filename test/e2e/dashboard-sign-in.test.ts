/** Signing in with an OpenID provider (oidc-provider on loopback): authorization code with PKCE, in a real browser, on the real API. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright-core';

import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { browserMissing } from '../support/browser.ts';
import { buildDashboard } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import { type LoginProvider, startLoginProvider } from '../support/login-provider.ts';

const database = useDatabase();

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let provider: LoginProvider;
  let home: Awaited<ReturnType<typeof temporaryFolder>>;
  let api: FluxProcess;
  let url: string;

  beforeAll(async () => {
    buildDashboard();
    await database.addAgency('nasa');
    const { adminUrl, contextKey } = database;
    await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption: localKeyEncryption(testDataKey) });
    home = await temporaryFolder('dashboard-sign-in');
    const port = await freePort();
    url = `http://127.0.0.1:${String(port)}`;
    provider = await startLoginProvider({ redirectUri: `${url}/sign-in/callback`, origin: url });
    const { issuer, clientId } = provider;
    api = startFlux(['serve'], {
      home: home.folder,
      env: {
        FLUX_PORT: String(port),
        FLUX_METRICS_PORT: '0',
        FLUX_API_DATABASE_URL: database.apiUrl,
        FLUX_CONTEXT_KEY: contextKey.toString('hex'),
        FLUX_DATA_KEY: testDataKey.toString('hex'),
        FLUX_ISSUERS: JSON.stringify([{ issuer, jwksUri: provider.jwksUri, agencies: ['nasa'] }]),
        FLUX_SIGN_IN: JSON.stringify([{ issuer, clientId, title: 'Agency login', scope: 'openid offline_access' }]),
      },
    });
    await api.says(/API is ready/);
  }, 120_000);
  afterAll(async () => {
    api?.kill('SIGKILL');
    await api?.ended;
    await provider?.stop();
    await home?.remove();
  });
  const bench = useBrowser();
  let page: Page;
  beforeEach(() => {
    page = bench.page;
    provider.grant({ agency: 'nasa', role: 'analyzer' });
  });
  // The provider's own page asks for its font; the dashboard's asks nobody.
  beforeAll(() =>
    bench.context.route('https://fonts.googleapis.com/**', (route) =>
      route.fulfill({ status: 200, contentType: 'text/css', body: '' }),
    ),
  );

  async function signIn(): Promise<void> {
    await page.getByRole('button', { name: 'Sign in with Agency login' }).click();
    await page.getByPlaceholder('Enter any login').fill('ada');
    await page.getByPlaceholder('and password').fill('anything');
    await page.getByRole('button', { name: 'Sign-in' }).click();
    await page.getByRole('button', { name: 'Continue' }).click();
  }

  test('comes back signed in on the page that was asked for, with a code that PKCE binds to this tab', async () => {
    await page.goto(`${url}/audit?action=run.start`);
    await signIn();
    await page.getByRole('heading', { name: 'Audit' }).waitFor();
    expect(new URL(page.url()).search).toBe('?action=run.start');
    await page.getByText('ada (analyzer)').waitFor();

    const [asked] = provider.asked('/auth');
    expect(asked).toMatchObject({ response_type: 'code', code_challenge_method: 'S256', client_id: provider.clientId });
    expect(asked?.['code_challenge']).toMatch(/^[\w-]{43}$/);
    const [exchange] = provider.asked('/token');
    expect(exchange).toMatchObject({ grant_type: 'authorization_code' });
    expect(exchange?.['code_verifier']).toMatch(/^[\w-]{43}$/);
    expect(exchange).not.toHaveProperty('client_secret');
    const kept = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]),
    );
    expect(kept).not.toMatch(/eyJ|code=|verifier/);
    const others = [...bench.origins].filter((origin) => origin !== 'https://fonts.googleapis.com');
    expect(new Set(others.map((origin) => origin.replace('ws:', 'http:')))).toEqual(new Set([url, provider.origin]));
    expect(bench.complaints).toEqual([]);
  }, 120_000);

  test('a token that ends is renewed without a sign-in, and the page stays live', async () => {
    provider.tokensLast(12);
    await page.goto(`${url}/runs`);
    await page.getByRole('button', { name: 'Sign in with Agency login' }).click();
    // The provider remembers who it is; it asks for consent anew where offline access is wanted.
    const onward = page.getByRole('button', { name: 'Continue' });
    const inside = page.getByRole('button', { name: 'Sign out' });
    await onward.or(inside).first().waitFor();
    if (await onward.isVisible()) await onward.click();
    await inside.waitFor();
    await page.locator('[data-connection="live"]').waitFor();
    // Half of its time before its end the SDK asks for the next.
    await expect
      .poll(() => provider.asked('/token').filter((one) => one['grant_type'] === 'refresh_token').length, patience)
      .toBeGreaterThan(0);
    expect(await page.locator('[data-connection="live"]').count()).toBe(1);
    provider.tokensLast(600);
  }, 120_000);

  test('an answer that this tab did not ask for signs nobody in', async () => {
    await page.goto(`${url}/sign-in/callback?code=somebody-elses&state=guessed`);
    await page.getByText('That answer belongs to no sign-in of this tab.').waitFor();
    expect(await page.getByRole('button', { name: 'Sign out' }).count()).toBe(0);
    expect(new URL(page.url()).search).toBe('');
  });

  test('who the API does not take is told so in its words', async () => {
    provider.grant({ agency: 'noaa', role: 'admin' });
    await bench.context.clearCookies();
    await page.goto(`${url}/runs`);
    await signIn();
    await page.getByText('Sign-in failed').waitFor();
    expect(await page.getByRole('button', { name: 'Sign out' }).count()).toBe(0);
  }, 120_000);
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
