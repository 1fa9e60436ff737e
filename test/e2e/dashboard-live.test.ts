/** The dashboard while things break: a worker is killed, the API restarts under an open page. And what was rejected is put through again. */
import { readFileSync } from 'node:fs';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { browserMissing } from '../support/browser.ts';
import { type DashboardStack, signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';
import { type FluxProcess, freePort } from '../support/flux.ts';
import { pipelineDocument } from '../support/api.ts';

/** Enough batches that a run is still under way when something has been killed. */
const records = 100_000;
const codes = (lengthMax: number) => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Code',
  type: 'object',
  properties: { id: { type: 'integer' }, code: { type: 'string', maxLength: lengthMax } },
  required: ['id', 'code'],
  additionalProperties: false,
});
const codesPipeline = (version: number) =>
  pipelineDocument('codes', {
    source: { connection: 'files', path: 'codes.csv', format: { type: 'csv' } },
    contract: { name: 'code', version, maxRejectedRatio: 0.5 },
    destination: { type: 'postgres', dataset: 'codes', mode: 'append' },
  });

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  let api: FluxProcess;
  let port: number;
  let url: string;

  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 2, records });
    port = await freePort();
    url = `http://127.0.0.1:${String(port)}`;
    api = await stack.serve(port);
    const rows = Array.from({ length: 300 }, (_, i) => `${String(i + 1)},${i % 100 === 7 ? 'seven' : 'four'}`);
    await stack.put('codes.csv', `id,code\n${rows.join('\n')}\n`);
    await stack.register('contracts', 'code', codes(4));
    await stack.register('pipelines', 'codes', codesPipeline(1));
  }, 180_000);
  afterAll(() => stack?.stop());
  const bench = useBrowser();

  const status = (name: string) => bench.page.locator(`.run-state [data-status="${name}"]`);
  const connection = (name: string) => bench.page.locator(`[data-connection="${name}"]`);

  /** The numbers of all events that the page holds, as it shows them from the first row to the last. */
  async function shownSeqs(): Promise<number[]> {
    const { page } = bench;
    const earlier = page.getByRole('button', { name: 'Earlier events' });
    const total = () => page.locator('.log-rows').getAttribute('data-total');
    while (await earlier.isVisible()) {
      const before = await total();
      await earlier.click();
      await expect.poll(total, patience).not.toBe(before);
    }
    const expected = Number(await total());
    const seqs: number[] = [];
    for (let row = 0; row < expected; row += 15) {
      await page.locator('.log').evaluate((box, top) => (box.scrollTop = top), row * 28);
      // The row at the top may be there from before; this part is drawn when its last row is.
      await page.locator(`[aria-posinset="${String(Math.min(row + 15, expected))}"]`).waitFor();
      const shown = await page
        .locator('.log-row')
        .evaluateAll((rows) =>
          rows.map((one) => [one.getAttribute('aria-posinset'), (one as HTMLElement).dataset['seq']].map(Number)),
        );
      for (const [position = 0, seq = 0] of shown) seqs[position - 1] = seq;
    }
    expect(seqs.length).toBe(expected);
    return seqs;
  }

  test('a worker is killed, and the page shows who took its partition over', async () => {
    const { page } = bench;
    await signIn(page, url, 'nasa', 'operator');
    await startRunFromPage(page, url, 'readings');
    await status('IN_PROGRESS').waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('BatchCommitted');
    await page.locator('.log-row').first().waitFor();
    await page.getByText('Partitions as a table').click();

    const holder = await stack.killHolder();
    // Every worker that is shown from here on, however soon its partition is done.
    await page.evaluate(() => {
      const workers = new Set<string>();
      (globalThis as unknown as { workers: Set<string> }).workers = workers;
      const look = () =>
        document.querySelectorAll('[data-worker]').forEach(({ textContent }) => workers.add(textContent));
      look();
      new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
    });

    await page.getByRole('searchbox', { name: 'Search' }).fill('PartitionTakenOver');
    const takeover = page.locator('.log-row', { hasText: 'PartitionTakenOver' }).first();
    await takeover.waitFor();
    expect(await takeover.innerText()).toContain('let the lease run out');
    const workers = () => page.evaluate(() => [...(globalThis as unknown as { workers: Set<string> }).workers]);
    await expect
      .poll(async () => (await workers()).filter((id) => id !== '–' && id !== holder).length, patience)
      .toBeGreaterThan(0);
    // On the chart and in its twin as well.
    await page.locator('.gantt .mark--takeover').first().waitFor({ state: 'attached' });
    await expect
      .poll(
        () =>
          page
            .getByRole('region', { name: 'Partitions', exact: true })
            .locator('[data-takeovers]')
            .evaluateAll((cells) => cells.map(({ textContent }) => Number(textContent)).reduce((a, b) => a + b, 0)),
        patience,
      )
      .toBeGreaterThan(0);
    await page.getByRole('searchbox', { name: 'Search' }).fill('');
    await status('COMPLETED').waitFor();
    await page.getByText('Every record is accounted for').waitFor();
    expect(await page.getByText(/100,000 read = 99,900 written \+ 100\s+rejected/).count()).toBe(1);
    const seqs = await shownSeqs();
    expect(seqs).toEqual(seqs.map((_, i) => i + 1));
    expect(bench.complaints).toEqual([]);
  }, 300_000);

  test('the API restarts under an open page: it says so, goes on, and no event is missing or there twice', async () => {
    const { page } = bench;
    await startRunFromPage(page, url, 'readings');
    await status('IN_PROGRESS').waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('BatchCommitted');
    await page.locator('.log-row').first().waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('');

    await connection('live').waitFor();
    // Every state that is shown, however short.
    await page.evaluate(() => {
      const shown: string[] = [];
      (globalThis as unknown as { shown: string[] }).shown = shown;
      const place = document.querySelector('[data-connection]');
      if (!place) throw new Error('no place for the state of the connection');
      new MutationObserver(() => shown.push((place as HTMLElement).innerText.trim())).observe(place, {
        attributes: true,
        childList: true,
        characterData: true,
        subtree: true,
      });
    });
    api.kill('SIGKILL');
    await api.ended;
    await bench.page.locator('[data-connection="reconnecting"], [data-connection="stale"]').waitFor();
    api = await stack.serve(port);
    await connection('live').waitFor();
    const shown = await page.evaluate(() => (globalThis as unknown as { shown: string[] }).shown);
    expect(shown.join(' > ')).toMatch(/reconnecting.*live/);

    await status('COMPLETED').waitFor();
    await page.getByText('The attempt is over.').waitFor();
    const seqs = await shownSeqs();
    expect(seqs).toEqual(seqs.map((_, i) => i + 1));
    const last = Number(
      (await bench.page.locator('.log-row').last().locator('.log-seq').innerText()).replaceAll(',', ''),
    );
    expect(last).toBe(seqs.length);
    const downloading = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download all' }).click();
    const stored = readFileSync(await (await downloading).path(), 'utf8')
      .trim()
      .split('\n');
    expect(stored.length, 'the page has what the server has').toBe(seqs.length);
  }, 300_000);

  test('rejected records are put through a corrected contract from the page, and lead back to where they came from', async () => {
    const { page } = bench;
    await startRunFromPage(page, url, 'codes');
    await status('COMPLETED').waitFor();
    const first = new URL(page.url()).pathname;
    await page.getByText(/^Rejected records \(3\)/).click();
    await page.getByRole('region', { name: 'Rejected records' }).getByText('seven').first().waitFor();

    await stack.register('contracts', 'code', codes(5));
    await stack.register('pipelines', 'codes', codesPipeline(2));
    await page.getByRole('button', { name: 'Reprocess these records' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(/^Reason/).fill('the contract was too strict');
    await dialog.getByRole('button', { name: 'Reprocess rejected' }).click();
    await expect.poll(() => new URL(page.url()).pathname, patience).not.toBe(first);
    await status('COMPLETED').waitFor();
    await page.getByText(/3 read = 3 written \+ 0\s+rejected/).waitFor();
    await page.getByText('Every record is accounted for').waitFor();
    const lineage = page.getByRole('list', { name: 'Lineage' });
    await lineage.getByRole('link', { name: new RegExp(first.slice(6)) }).click();
    await page.getByText(/^Rejected records/).click();
    await page.getByRole('region', { name: 'Rejected records' }).getByText('landed').first().waitFor();
    await page.goto(`${url}/data/codes`);
    await page.getByText('300 records of 2 published loads').waitFor();
  }, 120_000);
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
