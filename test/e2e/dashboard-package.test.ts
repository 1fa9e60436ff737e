/** A dataset as a file, from the dashboard: an analyst downloads it, a viewer is told why not, and the audit page shows who did. */
import { readFile } from 'node:fs/promises';

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { faultsIn } from '../support/accessibility.ts';
import { browserMissing } from '../support/browser.ts';
import { type DashboardStack, signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';
import { openPackage, sha256Of } from '../support/data-package.ts';

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 1, records: 2_000 });
  }, 180_000);
  afterAll(() => stack?.stop());
  const bench = useBrowser();
  let page: Page;
  beforeEach(() => {
    page = bench.page;
  });

  test('an analyst downloads a package, and the audit page shows it', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    await startRunFromPage(page, stack.url, 'readings');
    await page.locator('.run-state [data-status="COMPLETED"]').waitFor();
    await signIn(page, stack.url, 'nasa', 'analyzer');
    await page.goto(`${stack.url}/data/readings`);
    const button = page.getByRole('button', { name: 'Download package' });
    await button.waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
    expect(download.suggestedFilename()).toBe('readings.zip');
    const bytes = await readFile(await download.path());
    expect(openPackage(bytes).records).toHaveLength(1_998);
    await page.getByText(`SHA-256 ${sha256Of(bytes)}`).waitFor();
    expect(await faultsIn(page)).toEqual([]);

    await page.goto(`${stack.url}/audit`);
    await expect
      .poll(async () => {
        await page.reload();
        await page.getByRole('region', { name: 'Sealed entries, the newest first' }).waitFor();
        return page.getByRole('row', { name: /package\.close/ }).count();
      }, patience)
      .toBeGreaterThan(0);
    expect(
      await page
        .getByRole('row', { name: /package\.close/ })
        .first()
        .textContent(),
    ).toContain('readings');
    // Side by side in 320 px, a button would be as narrow as its longest word, and all as high as its words.
    const exporting = page.getByRole('button', { name: 'Export as CSV' });
    const heightIn = async (width: number): Promise<number | undefined> => {
      await page.setViewportSize({ width, height: 900 });
      return (await exporting.boundingBox())?.height;
    };
    expect(await heightIn(320)).toBe(await heightIn(1280));
    expect(bench.complaints).toEqual([]);
  });

  test('a viewer is told why there is no package', async () => {
    await signIn(page, stack.url, 'nasa', 'viewer');
    await page.goto(`${stack.url}/data/readings`);
    await page.getByText(/can be downloaded by roles with data:read; the role viewer does not have it/).waitFor();
    expect(await page.getByRole('button', { name: 'Download package' }).count()).toBe(0);
    expect(await faultsIn(page)).toEqual([]);
  });
});

if (browserMissing !== undefined) test('packages in Chromium', (context) => context.skip(browserMissing));
