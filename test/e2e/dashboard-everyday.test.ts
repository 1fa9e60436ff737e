/** What is done on the dashboard every day beside runs: views kept and used, schedules stopped and let go on, forks, the numbers behind charts. */
import { readFileSync } from 'node:fs';

import { parse } from 'csv-parse/sync';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { pipelineDocument } from '../support/api.ts';
import { browserMissing } from '../support/browser.ts';
import { type DashboardStack, signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';

const records = 20_000;

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 2, records });
    for (const day of ['2026-02-01', '2026-02-02']) await stack.put(`${day}.csv`, 'year\n1999\n2001\n');
    await stack.register(
      'pipelines',
      'daily',
      pipelineDocument('daily', {
        source: { connection: 'files', path: '{date}.csv', format: { type: 'csv' } },
        destination: { type: 'postgres', dataset: 'daily', mode: 'append' },
      }),
    );
    await stack.flux(['schedules', 'create', 'nightly', '--pipeline', 'readings', '--cron', '30 2 1 1 *']);
  }, 180_000);
  afterAll(() => stack?.stop());
  const bench = useBrowser();
  let page: Page;
  beforeEach(() => {
    page = bench.page;
  });
  const status = (name: string) => page.locator(`.run-state [data-status="${name}"]`);

  /** Presses a button and reads the CSV that comes of it: the file's name, the first line, and the others. */
  async function csvOf(button: string): Promise<{ name: string; head: string[]; rows: string[][] }> {
    const [saved] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: button, exact: true }).click(),
    ]);
    const [head = [], ...rows] = parse(readFileSync(await saved.path()), { columns: false });
    return { name: saved.suggestedFilename(), head, rows };
  }

  /** What a table shows: a row's cells, without the marks that group digits. */
  async function tableOf(name: string): Promise<string[][]> {
    const rows = page.getByRole('region', { name, exact: true }).locator('tbody tr');
    // A table that was opened is drawn a moment later, all of it at once.
    await rows.first().waitFor();
    return Promise.all(
      (await rows.all()).map(async (row) =>
        (await row.locator('th, td').allInnerTexts()).map((text) => text.trim().replaceAll(/(?<=\d),(?=\d)/g, '')),
      ),
    );
  }

  test('a page whose code does not come says so, and comes when it is asked for again', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    const code = /\/assets\/contracts-[^/]+\.js$/;
    await page.route(code, (route) => route.abort());
    const contracts = page.getByRole('navigation').getByRole('link', { name: 'Contracts' });
    await contracts.click();
    await page.getByRole('alert').filter({ hasText: 'code cannot be loaded' }).waitFor();
    // The navigation is still there.
    await page.getByRole('navigation').getByRole('link', { name: 'Runs' }).click();
    await page.getByRole('heading', { name: 'Runs' }).waitFor();
    await page.unroute(code);
    await page.reload();
    await contracts.click();
    await page.getByRole('heading', { name: 'Contracts' }).waitFor();
  });

  test('a view is kept by name over a reload, opens its filter, and goes when it is removed', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    await page.getByLabel('Status').selectOption('FAILED');
    await page.getByRole('searchbox', { name: 'Pipeline' }).fill('strict');
    await expect.poll(() => new URL(page.url()).search, patience).toBe('?status=FAILED&pipeline=strict');
    const views = page.locator('.views');
    await views.getByText('Views', { exact: true }).click();
    await views.getByLabel('Save this filter as').fill('broken loads');
    await views.getByRole('button', { name: 'Save' }).click();
    await views.getByRole('link', { name: 'broken loads' }).waitFor();

    await page.goto(`${stack.url}/runs`);
    await page.getByRole('searchbox', { name: 'Pipeline' }).fill('another');
    await views.getByText('Views', { exact: true }).click();
    await views.getByRole('link', { name: 'broken loads' }).click();
    await expect.poll(() => new URL(page.url()).search, patience).toBe('?status=FAILED&pipeline=strict');
    // The fields say what the list is filtered by, also where something else had been typed.
    expect(await page.getByLabel('Status').inputValue()).toBe('FAILED');
    expect(await page.getByRole('searchbox', { name: 'Pipeline' }).inputValue()).toBe('strict');

    if (!(await views.getByRole('button', { name: 'remove broken loads' }).isVisible()))
      await views.getByText('Views', { exact: true }).click();
    await views.getByRole('button', { name: 'remove broken loads' }).click();
    await expect.poll(() => views.getByRole('link', { name: 'broken loads' }).count(), patience).toBe(0);
    await page.reload();
    await views.getByText('Views', { exact: true }).click();
    await views.getByLabel('Save this filter as').waitFor();
    expect(await views.getByRole('link').count()).toBe(0);
    expect(bench.complaints).toEqual([]);
  });

  test('a schedule is paused and resumed with a reason, and the audit log has both', async () => {
    await page.goto(`${stack.url}/queue`);
    const row = page.getByRole('region', { name: 'Schedules' }).locator('tr', { hasText: 'nightly' });
    const dialog = page.getByRole('dialog');
    for (const [verb, title, becomes] of [
      ['pause', 'Pause nightly', 'PAUSED'],
      ['resume', 'Resume nightly', 'ACTIVE'],
    ] as const) {
      await row.getByRole('button', { name: `${verb} nightly` }).click();
      // Nothing happens without a reason.
      await dialog.getByRole('button', { name: title }).click();
      expect(await dialog.count()).toBe(1);
      await dialog.getByLabel('Reason').fill(`to ${verb} it`);
      await dialog.getByRole('button', { name: title }).click();
      await row.locator(`[data-status="${becomes}"]`).waitFor();
    }
    const told = JSON.parse(await stack.flux(['schedules', 'show', 'nightly', '--json'])) as { status: string };
    expect(told.status).toBe('ACTIVE');
    await signIn(page, stack.url, 'nasa', 'analyzer');
    await page.goto(`${stack.url}/audit`);
    for (const reason of ['to pause it', 'to resume it'])
      await page.getByRole('cell', { name: reason }).first().waitFor();
  });

  test('a run is forked from a checkpoint with a reason; the new run opens and leads back', async () => {
    await signIn(page, stack.url, 'nasa', 'operator');
    await startRunFromPage(page, stack.url, 'readings');
    await status('COMPLETED').waitFor();
    const first = new URL(page.url()).pathname.slice('/runs/'.length);
    await page.getByRole('heading', { name: 'Checkpoints' }).click();
    const fork = page.getByRole('region', { name: 'Checkpoints' }).getByRole('button', { name: /^fork from/ });
    await fork.first().waitFor();
    const [, place = ''] = /from (.*)/.exec((await fork.first().innerText()).trim()) ?? [];
    await fork.first().click();
    const dialog = page.getByRole('dialog');
    const does = dialog.getByRole('button', { name: 'Fork', exact: true });
    await does.click();
    expect(new URL(page.url()).pathname, 'nothing happens without a reason').toBe(`/runs/${first}`);
    await dialog.getByLabel(/^Reason/).fill('from here on anew');
    await does.click();
    await expect.poll(() => new URL(page.url()).pathname, patience).not.toBe(`/runs/${first}`);
    await page.locator('.facts', { hasText: 'from here on anew' }).waitFor();
    await status('COMPLETED').waitFor();
    await page.getByText('Every record is accounted for').waitFor();
    const origin = page.getByRole('list', { name: 'Lineage' }).locator('li', { hasText: 'Forked from' });
    expect(await origin.innerText()).toContain(`checkpoint ${place}`);
    await origin.getByRole('link').click();
    await expect.poll(() => new URL(page.url()).pathname, patience).toBe(`/runs/${first}`);
    expect(bench.complaints).toEqual([]);
  });

  test('each chart’s numbers are in its table and in its CSV', async () => {
    await page.goto(`${stack.url}/runs`);
    await page.getByText('Durations as a table').click();
    const durations = await csvOf('Durations as CSV');
    expect([durations.name, durations.head]).toEqual([
      'durations.csv',
      ['run', 'pipeline', 'status', 'started', 'seconds'],
    ]);
    const listed = await tableOf('Duration of each listed run');
    expect(listed.length).toBe(2);
    expect(durations.rows.map(([, pipeline, state]) => [pipeline, state?.toLowerCase()])).toEqual(
      listed.map(([pipeline, state]) => [pipeline, state]),
    );
    expect(durations.rows.every(([, , , , seconds]) => Number(seconds) > 0)).toBe(true);

    await startRunFromPage(page, stack.url, 'readings');
    await page.getByText('Throughput as a table').click();
    await status('COMPLETED').waitFor();
    const run = new URL(page.url()).pathname.slice('/runs/'.length);
    const shownRates = page.getByRole('region', { name: /^Records per second, the newest/ }).locator('tbody tr');
    // A sample comes twice a second, the last of them behind the run's end.
    await expect
      .poll(
        async () => {
          const rates = await csvOf('As CSV');
          expect([rates.name, rates.head]).toEqual([
            `throughput-${run}.csv`,
            ['at', 'records per second', 'records read'],
          ]);
          return { read: rates.rows.at(-1)?.[2], rows: rates.rows.length - (await shownRates.count()) };
        },
        { timeout: 30_000 },
      )
      .toEqual({ read: String(records), rows: 0 });

    await page.getByText('Partitions as a table').click();
    await page.getByText('Every record is accounted for').waitFor();
    const partitions = await csvOf('Partitions as CSV');
    expect(partitions.name).toBe(`partitions-${run}.csv`);
    const shownPartitions = await tableOf('Partitions');
    const column = (name: string): string[] => partitions.rows.map((row) => row[partitions.head.indexOf(name)] ?? '');
    // Partition, status, worker, takings, takeovers, waited, read, written, rejected, …
    for (const [index, name] of [
      [3, 'takings'],
      [4, 'takeovers'],
      [6, 'read'],
      [7, 'written'],
      [8, 'rejected'],
    ] as const)
      expect(column(name), name).toEqual(shownPartitions.map((cells) => cells[index]));
    expect(column('read').reduce((sum, read) => sum + Number(read), 0)).toBe(records);

    const steps = await csvOf('Counts as CSV');
    expect(steps.name).toBe(`steps-${run}.csv`);
    expect(steps.rows.map((row) => row.slice(3))).toEqual(
      (await tableOf('Counts of every step')).map((cells) => cells.slice(3)),
    );
  }, 120_000);

  test('a backfill’s grid has its dates in a CSV', async () => {
    await page.goto(`${stack.url}/pipelines/daily`);
    await page.getByText('Start a backfill').click();
    const form = page.locator('.section .panel');
    await form.getByLabel('First date').fill('2026-02-01');
    await form.getByLabel('Last date').fill('2026-02-02');
    await form.getByLabel(/^Reason/).fill('two days');
    await form.getByRole('button', { name: 'Start the backfill' }).click();
    await page.getByText(/2 of 2 dates completed/).waitFor();
    await page.getByText('Dates as a table').click();
    expect((await tableOf('Dates')).map(([date, state]) => [date, state])).toEqual([
      ['2026-02-01', 'completed'],
      ['2026-02-02', 'completed'],
    ]);
    const dates = await csvOf('Dates as CSV');
    expect(dates.rows.map(([date, state]) => [date, state])).toEqual([
      ['2026-02-01', 'COMPLETED'],
      ['2026-02-02', 'COMPLETED'],
    ]);
  });
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
