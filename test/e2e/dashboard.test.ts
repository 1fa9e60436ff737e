/** The dashboard in a real browser, against `flux up`: real workers, real Postgres. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { browserMissing } from '../support/browser.ts';
import {
  buildDashboard,
  dashboardFolder,
  type DashboardStack,
  signIn,
  startDashboardStack,
} from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';

/** Enough batches that a run is still under way when somebody has clicked. */
const records = 200_000;

test('what is built is React for production, whatever the environment of the build says', () => {
  // Vitest's own says NODE_ENV=test.
  buildDashboard();
  const assets = path.join(dashboardFolder, 'dist', 'assets');
  const scripts = readdirSync(assets).filter((name) => name.endsWith('.js'));
  expect(scripts.length).toBeGreaterThan(0);
  for (const name of scripts) expect(readFileSync(path.join(assets, name), 'utf8'), name).not.toContain('jsxDEV');
});

test('the first view loads at most 200 kB of JavaScript, gzipped', () => {
  buildDashboard();
  const assets = path.join(dashboardFolder, 'dist', 'assets');
  const index = readFileSync(path.join(dashboardFolder, 'dist', 'index.html'), 'utf8');
  const entry = readdirSync(assets).filter((name) => name.endsWith('.js') && index.includes(name));
  // What the entry imports by itself comes with it; what a page imports when it is opened does not.
  const loaded = new Set(entry);
  for (const name of loaded) {
    const text = readFileSync(path.join(assets, name), 'utf8');
    for (const [, other = ''] of text.matchAll(/(?:^|[;}])import[^("']*["']\.\/([\w.-]+\.js)["']/g)) loaded.add(other);
  }
  const bytes = [...loaded].reduce((sum, name) => sum + gzipSync(readFileSync(path.join(assets, name))).length, 0);
  expect(loaded.size).toBeGreaterThan(0);
  expect(bytes).toBeGreaterThan(50_000);
  expect(bytes).toBeLessThanOrEqual(200_000);
});

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 2, records });
  }, 180_000);
  afterAll(() => stack?.stop());
  const bench = useBrowser();
  const { origins, complaints } = bench;
  let page: Page;
  beforeEach(() => {
    page = bench.page;
  });

  const status = (name: string) => page.locator(`.run-state [data-status="${name}"]`);
  const events = () => page.getByRole('region', { name: 'Events of this run, in order' });

  test('an operator starts a run, watches it live, cancels it, and resumes it to the end', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    await page.locator('[data-connection="live"]').waitFor();
    await page.getByRole('link', { name: 'Pipelines' }).click();
    await page.getByRole('link', { name: 'readings' }).click();
    await page.getByRole('button', { name: 'Dry run', exact: true }).click();
    await page.getByText(/It would read 200,000 records/).waitFor();
    await page.getByLabel(/^Reason/).fill('from the browser');
    await page.getByRole('button', { name: 'Start', exact: true }).click();

    // Live: batches come by themselves.
    await status('IN_PROGRESS').waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('BatchCommitted');
    await events().getByText('BatchCommitted').first().waitFor();

    await page.getByRole('button', { name: 'Cancel', exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(/^Reason/).fill('enough seen');
    await dialog.getByText('The same as a command or a program').click();
    expect(await dialog.innerText()).toContain("--reason 'enough seen'");
    await dialog.getByRole('button', { name: 'Cancel', exact: true }).click();
    await status('CANCELLED').waitFor();

    await page.getByRole('button', { name: 'Resume', exact: true }).click();
    await dialog.getByText('Records kept').waitFor();
    await dialog.getByLabel(/^Reason/).fill('and on');
    await dialog.getByRole('button', { name: 'Resume', exact: true }).click();
    await status('COMPLETED').waitFor();
    await page.getByText('Every record is accounted for').waitFor();
    expect(await page.getByText(/200,000 read = 199,800 written \+ 200\s+rejected/).count()).toBe(1);
    expect(complaints).toEqual([]);
  }, 300_000);

  test('the log holds every event once, in order, and mounts no more rows than fit', async () => {
    await page.getByRole('searchbox', { name: 'Search' }).fill('');
    await page.getByText(/^\d+ events loaded/).waitFor();
    const earlier = page.getByRole('button', { name: 'Earlier events' });
    while (await earlier.isVisible()) {
      const before = await page.locator('.log-rows').getAttribute('data-total');
      await earlier.click();
      await expect.poll(() => page.locator('.log-rows').getAttribute('data-total'), patience).not.toBe(before);
    }
    const total = Number(await page.locator('.log-rows').getAttribute('data-total'));
    expect(total).toBeGreaterThan(400);
    expect(await page.locator('.log-row').count()).toBeLessThan(60);
    await page.locator('.log').evaluate((box) => (box.scrollTop = 0));
    await page.locator('[data-seq="1"]').waitFor();
    await page.locator('.log').evaluate((box) => (box.scrollTop = box.scrollHeight));
    // The last of as many as are loaded has their count as its number: none is missing, none is there twice.
    await page.locator(`[data-seq="${String(total)}"]`).waitFor();
    await page.getByText('RunCompleted').waitFor();
  });

  test('what a run has left is shown: columns, counts, loads, and records of the one that is chosen', async () => {
    await page.goto(`${stack.url}/data`);
    await page.getByRole('link', { name: 'readings' }).click();
    await page.getByText('199,800 records of 1 published load').waitFor();
    await page.getByRole('region', { name: 'Columns' }).getByRole('cell', { name: 'bigint' }).waitFor();
    const records = page.getByRole('region', { name: 'Records of load 1' });
    await records.waitFor();
    // Which fifty they are is the database's affair; each is what the source has at its number, and they are in order.
    const [, ...shown] = (await records.getByRole('row').allInnerTexts()).map((row) =>
      row.replaceAll(',', '').trim().split(/\s+/).map(Number),
    );
    expect(shown.length).toBe(50);
    expect(shown).toEqual(shown.map(([record = 0]) => [record, 1900 + ((record - 1) % 120)]));
    expect(shown).toEqual(shown.toSorted(([a = 0], [b = 0]) => a - b));
    await page.getByRole('button', { name: 'Show records of load 1' }).click();
    await expect.poll(() => new URL(page.url()).search, patience).toBe('?load=1');
    const [saved] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download these as CSV' }).click(),
    ]);
    expect(
      readFileSync(await saved.path(), 'utf8')
        .split('\r\n')
        .slice(0, 2),
    ).toEqual(['_flux_record,year', shown[0]?.join(',')]);
    expect(complaints).toEqual([]);
  });

  test('the list’s filter is the address, and only what fits is listed', async () => {
    await page.goto(`${stack.url}/runs?status=FAILED`);
    await page.getByText('No run fits.').waitFor();
    await page.getByLabel('Status').selectOption('COMPLETED');
    await page
      .getByRole('link', { name: /readings/ })
      .first()
      .waitFor();
    expect(new URL(page.url()).search).toBe('?status=COMPLETED');
    await page.reload();
    await page
      .getByRole('link', { name: /readings/ })
      .first()
      .waitFor();
    expect(await page.locator('tbody [data-status]:not([data-status="COMPLETED"])').count()).toBe(0);
  });

  test('a viewer is refused what an operator may do, and told why', async () => {
    await signIn(page, stack.url, 'nasa', 'viewer');
    await page
      .getByRole('link', { name: /readings/ })
      .first()
      .click();
    const rerun = page.getByRole('button', { name: 'Rerun' });
    await rerun.waitFor();
    expect(await rerun.getAttribute('aria-disabled')).toBe('true');
    expect(await rerun.getAttribute('title')).toContain('run:write');
    await rerun.click({ force: true });
    expect(await page.getByRole('dialog').count()).toBe(0);
    await page.getByText(/^Rejected records/).click();
    await page.getByText('roles with data:read').waitFor();
    expect(await page.getByRole('link', { name: 'Audit' }).count()).toBe(0);
    await page.goto(`${stack.url}/pipelines/readings`);
    await page.getByText('Starting it needs run:write.').waitFor();
    await page.goto(`${stack.url}/data/readings`);
    await page.getByText('199,800 records of 1 published load').waitFor();
    await page.getByText('Records are shown to roles with data:read.').waitFor();
  });

  test('an analyzer verifies the audit log and finds what the operator did, with the reason', async () => {
    await signIn(page, stack.url, 'nasa', 'analyzer');
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByRole('button', { name: 'Verify the log' }).click();
    await page.getByText('The log holds').waitFor();
    await page.getByLabel('Action').fill('run.cancel');
    await page.getByRole('cell', { name: 'enough seen' }).waitFor();

    // All that fits the filter, and then all that there is, in the order of the log.
    const exported = async (): Promise<string[]> => {
      const [saved] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: 'Export as CSV' }).click(),
      ]);
      return readFileSync(await saved.path(), 'utf8')
        .trim()
        .split('\r\n');
    };
    const [head, ...cancelled] = await exported();
    expect(head).toBe('seq,at,actor,role,action,resource type,resource,success,error,reason,leaf hash');
    expect(cancelled).toHaveLength(1);
    expect(cancelled[0]).toContain(',run.cancel,');
    await page.getByText('1 entries exported.').waitFor();
    await page.getByLabel('Action').fill('');
    await expect.poll(() => new URL(page.url()).search, patience).toBe('');
    const [, ...all] = await exported();
    const numbers = all.map((line) => Number(line.split(',')[0]));
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    // More than one page of the API.
    expect(numbers.length).toBeGreaterThan(200);
  });

  test('no token is in any storage, and no request left this server', async () => {
    const kept = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    );
    expect(kept).not.toMatch(/eyJ/);
    expect([...origins].map((origin) => origin.replace('ws:', 'http:'))).toEqual([stack.url]);
  });
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
