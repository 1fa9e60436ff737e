/** The dashboard for everyone: WCAG 2.2 AA by axe-core in every look, and the keyboard alone. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { faultsIn, missedControls, walkByTab } from '../support/accessibility.ts';
import { pipelineDocument } from '../support/api.ts';
import { browserMissing } from '../support/browser.ts';
import { type DashboardStack, signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 2, records: 6_000 });
    // Of a whole month two days have a file.
    for (const day of ['2026-02-03', '2026-02-14']) await stack.put(`${day}.csv`, 'year\n1999\n2001\n');
    await stack.register(
      'pipelines',
      'daily',
      pipelineDocument('daily', {
        source: { connection: 'files', path: '{date}.csv', format: { type: 'csv' } },
        destination: { type: 'postgres', dataset: 'daily', mode: 'append' },
      }),
    );
  }, 180_000);
  afterAll(() => stack?.stop());
  const bench = useBrowser();
  let page: Page;
  beforeEach(() => {
    page = bench.page;
  });
  const status = (name: string) => page.locator(`.run-state [data-status="${name}"]`);

  /** Every control is reached by Tab in the page as it stands, and shows that it has the focus. */
  async function expectReachable(): Promise<void> {
    const stops = await walkByTab(page);
    expect(await missedControls(page), page.url()).toEqual([]);
    expect(
      stops.filter(({ visible }) => !visible).map(({ name }) => name),
      `${page.url()}: no visible focus`,
    ).toEqual([]);
  }

  /** Presses Tab until this has the focus. */
  async function tabTo(name: string | RegExp, role: 'link' | 'button' | 'textbox' | 'gridcell'): Promise<void> {
    // What is behind a dialog cannot be reached.
    const modal = page.locator('dialog[open]');
    const place = (await modal.count()) > 0 ? modal : page.locator('body');
    const wanted = place.getByRole(role, { name, ...(typeof name === 'string' ? { exact: true } : {}) }).first();
    await wanted.waitFor();
    for (let i = 0; i < 120; i += 1) {
      if (await wanted.evaluate((one) => one === document.activeElement)) return;
      await page.keyboard.press('Tab');
    }
    throw new Error(`Tab does not come to the ${role} ${String(name)}.`);
  }

  test('by keyboard alone: sign in, dry run, start, open the log, rerun with a reason', async () => {
    await page.goto(stack.url);
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await expectReachable();
    expect(await faultsIn(page)).toEqual([]);
    await page.reload();
    await tabTo('Sign in', 'button');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
    // The heading of a new page has the focus, and the first Tab of a loaded one is the way past the navigation.
    await page.reload();
    await page.getByRole('heading', { name: 'Runs' }).waitFor();
    await tabTo('Pipelines', 'link');
    await page.keyboard.press('Enter');
    await tabTo('readings', 'link');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Pipeline readings' }).waitFor();
    await tabTo(/^Reason/, 'textbox');
    await page.keyboard.type('by keyboard');
    await tabTo('Dry run', 'button');
    await page.keyboard.press('Enter');
    await page.getByText(/It would read 6,000 records/).waitFor();
    await tabTo('Start', 'button');
    await page.keyboard.press('Enter');
    await status('COMPLETED').waitFor();
    await page.locator('.facts', { hasText: 'by keyboard' }).waitFor();
    await tabTo('Rerun', 'button');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    // A dialog keeps the focus, and gives it back.
    expect(await page.getByRole('dialog').evaluate((one) => one.contains(document.activeElement))).toBe(true);
    // The browser may be late to tell that it has closed a dialog; a key pressed meanwhile counts.
    await page.evaluate(() =>
      addEventListener('close', (event) => event.stopPropagation(), { capture: true, once: true }),
    );
    await page.keyboard.press('Escape');
    await expect.poll(() => page.getByRole('dialog').count(), patience).toBe(0);
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Rerun');
    await page.keyboard.press('Enter');
    await tabTo(/^Reason/, 'textbox');
    await page.keyboard.type('once more');
    await tabTo('Rerun', 'button');
    const before = page.url();
    await page.keyboard.press('Enter');
    await expect.poll(() => page.url(), patience).not.toBe(before);
    await status('COMPLETED').waitFor();
    await page.getByText('A rerun of').waitFor();
  });

  test('a backfill’s dates are gone through with arrow keys, and Enter opens the run', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    await page.goto(`${stack.url}/pipelines/daily`);
    await page.getByText('Start a backfill').click();
    const form = page.locator('.section .panel');
    await form.getByLabel('First date').fill('2026-02-01');
    await form.getByLabel('Last date').fill('2026-03-02');
    await form.getByLabel(/^Reason/).fill('the month anew');
    await form.getByRole('button', { name: 'Start the backfill' }).click();
    const grid = page.getByRole('grid', { name: 'Dates of the backfill' });
    await grid.waitFor();
    await page.getByText(/2 of 30 dates completed, 0 running, 28 failed/).waitFor();

    await tabTo('2026-02-01: failed', 'gridcell');
    const at = () => page.evaluate(() => (document.activeElement as HTMLElement | null)?.dataset['date']);
    for (const [key, date] of [
      ['ArrowLeft', '2026-02-01'],
      ['ArrowRight', '2026-02-02'],
      ['ArrowDown', '2026-03-02'],
      ['ArrowRight', '2026-03-02'],
      ['ArrowUp', '2026-02-02'],
      ['End', '2026-02-28'],
      ['ArrowDown', '2026-03-02'],
      ['Home', '2026-03-01'],
      ['PageUp', '2026-02-01'],
      ['Control+End', '2026-03-02'],
      ['Control+Home', '2026-02-01'],
      ['ArrowRight', '2026-02-02'],
      ['ArrowRight', '2026-02-03'],
    ] as const) {
      await page.keyboard.press(key);
      expect(await at(), key).toBe(date);
    }
    await page.locator('.date-chosen', { hasText: '2026-02-03' }).waitFor();
    expect(await grid.locator('[tabindex="0"]').count(), 'one stop of the Tab key').toBe(1);
    await page.getByText('Dates as a table').click();
    const twin = page.getByRole('region', { name: 'Dates', exact: true });
    await twin.waitFor();
    expect(await twin.getByRole('row').count()).toBe(31);
    expect(await faultsIn(page)).toEqual([]);
    await tabTo('2026-02-03: completed', 'gridcell');
    await page.keyboard.press('Enter');
    await status('COMPLETED').waitFor();
    await page.getByText(/2 read = 2 written/).waitFor();
  });

  test('every page keeps to WCAG 2.2 AA in light, dark and forced colours, fits 320 px, and is reached by Tab', async () => {
    await signIn(page, stack.url, 'nasa', 'admin');
    await startRunFromPage(page, stack.url, 'readings');
    await status('COMPLETED').waitFor();
    await page.getByText(/^Rejected records/).click();
    await page.getByRole('region', { name: 'Rejected records' }).waitFor();
    await page.getByText('Checkpoints', { exact: true }).click();
    await page.getByRole('region', { name: 'Checkpoints' }).waitFor();
    await page.getByText('Partitions as a table').click();
    expect(await faultsIn(page)).toEqual([]);
    await expectReachable();
    await page.getByRole('button', { name: 'Rerun' }).click();
    await page.getByRole('dialog').waitFor();
    expect(await faultsIn(page), 'a dialog').toEqual([]);
    await page.keyboard.press('Escape');
    for (const [at, shown] of [
      ['/runs', 'Runs, the newest first'],
      ['/pipelines', 'Pipelines'],
      ['/pipelines/readings', 'Definition, version 1'],
      ['/contracts', 'Contracts, every version'],
      ['/contracts/reading', 'reading v1, JSON Schema'],
      ['/data', 'Datasets'],
      ['/data/readings', /^Records of load/],
      ['/queue', 'Backfills'],
      ['/audit', 'Sealed entries, the newest first'],
    ] as const) {
      await page.goto(stack.url + at);
      await page.getByRole('region', { name: shown }).waitFor();
      // What is folded is a part of the page.
      await page
        .locator('main details:not(.views)')
        .evaluateAll((folded) => folded.forEach((one) => one.setAttribute('open', '')));
      expect(await faultsIn(page), at).toEqual([]);
      await expectReachable();
    }
    await page.goto(`${stack.url}/nowhere`);
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
    expect(await faultsIn(page)).toEqual([]);
    expect(bench.complaints).toEqual([]);
  });
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
