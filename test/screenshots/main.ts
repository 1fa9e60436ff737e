/**
 * Takes a picture of every page of the dashboard, with runs that really ran: `npm run screenshots` writes them to docs/screenshots.
 *
 * Usage: node test/screenshots/main.ts [--looks]
 *   --looks  also each page whole, in light, dark, and 320 px wide
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';

import type { Page } from 'playwright-core';

import { browserMissing, launchBrowser } from '../support/browser.ts';
import { signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';

const folder = path.join(import.meta.dirname, '..', '..', 'docs', 'screenshots');
const viewport = { width: 1280, height: 860 };
const looks = [
  ['whole', 'light', viewport.width],
  ['dark', 'dark', viewport.width],
  ['narrow', 'light', 320],
] as const;

async function start(page: Page, url: string, pipeline: string, status: string): Promise<void> {
  await startRunFromPage(page, url, pipeline, 'quarterly load');
  await page.locator(`.run-state [data-status="${status}"]`).waitFor();
}

async function main(): Promise<void> {
  if (browserMissing !== undefined) throw new Error(browserMissing);
  mkdirSync(folder, { recursive: true });
  const [stack, browser] = await Promise.all([startDashboardStack({ workers: 2, records: 60_000 }), launchBrowser()]);
  try {
    const page = await browser.newPage({ viewport });
    page.setDefaultTimeout(120_000);
    const shoot = async (name: string): Promise<void> => {
      await page.evaluate(() => document.fonts.ready);
      await page.screenshot({ path: path.join(folder, `${name}.png`) });
      if (!process.argv.includes('--looks')) return;
      for (const [look, colorScheme, width] of looks) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ ...viewport, width });
        await page.screenshot({ path: path.join(folder, `${name}-${look}.png`), fullPage: true });
      }
      await page.emulateMedia({ colorScheme: 'light' });
      await page.setViewportSize(viewport);
    };
    await page.goto(stack.url);
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await shoot('sign-in');
    await signIn(page, stack.url, 'nasa', 'admin');
    for (const [pipeline, status] of [
      ['readings', 'COMPLETED'],
      ['strict', 'FAILED'],
      ['readings', 'COMPLETED'],
      ['readings', 'IN_PROGRESS'],
    ] as const) {
      await start(page, stack.url, pipeline, status);
    }
    await page.locator('.gantt .bar--COMPLETED').nth(2).waitFor();
    await page.getByText(/Records per second over/).waitFor();
    await shoot('run');
    await page.goto(`${stack.url}/runs`);
    await page.getByRole('region', { name: 'Runs, the newest first' }).waitFor();
    await shoot('runs');
    await page.goto(`${stack.url}/queue`);
    await page.getByText('There is no backfill.').waitFor();
    await shoot('queue');
    await page.goto(`${stack.url}/pipelines`);
    await page.getByRole('region', { name: 'Pipelines' }).waitFor();
    await shoot('pipelines');
    await page.goto(`${stack.url}/pipelines/readings`);
    await page.getByRole('region', { name: /^Definition/ }).waitFor();
    await shoot('pipeline');
    await page.goto(`${stack.url}/contracts/reading`);
    await page.getByRole('region', { name: /JSON Schema/ }).waitFor();
    await shoot('contract');
    await page.goto(`${stack.url}/data`);
    await page.getByRole('region', { name: 'Datasets' }).waitFor();
    await shoot('data');
    await page.goto(`${stack.url}/data/readings`);
    await page.getByRole('region', { name: /^Records of load/ }).waitFor();
    await shoot('dataset');
    await page.goto(`${stack.url}/audit`);
    await page.getByRole('button', { name: 'Verify the log' }).click();
    await page.getByText('The log holds').waitFor();
    await shoot('audit');
  } finally {
    await browser.close();
    await stack.stop();
  }
}

await main();
