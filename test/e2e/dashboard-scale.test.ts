/** The dashboard with 10,000 runs, a run of 1,000,000 events, and a run that tells of fifty events a second. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { browserMissing } from '../support/browser.ts';
import { type DashboardStack, signIn, startDashboardStack, startRunFromPage } from '../support/dashboard.ts';
import { patience, useBrowser } from '../support/dashboard-browser.ts';
import { watchMainThread } from '../support/main-thread.ts';
import { failedAt, ManyRuns } from '../support/many-runs.ts';

const runs = 10_000;
const events = 1_000_000;

describe.skipIf(browserMissing !== undefined)('in Chromium', () => {
  let stack: DashboardStack;
  let many: ManyRuns;
  let longRun: string;
  beforeAll(async () => {
    stack = await startDashboardStack({ workers: 1, records: 2_000 });
  }, 180_000);
  afterAll(async () => {
    await many?.end();
    await stack?.stop();
  });
  const bench = useBrowser();
  beforeAll(async () => {
    await signIn(bench.page, stack.url, 'nasa', 'operator');
    await startRunFromPage(bench.page, stack.url, 'readings');
    await bench.page.locator('.run-state [data-status="COMPLETED"]').waitFor();
    many = await ManyRuns.of(await stack.adminUrl(), 'nasa', new URL(bench.page.url()).pathname.slice('/runs/'.length));
    await bench.page.goto('about:blank');
    await many.addFinishedRuns(runs);
    longRun = await many.addLongRun(events);
  }, 600_000);
  let page: Page;
  beforeEach(() => {
    page = bench.page;
  });

  const rows = () => page.getByRole('region', { name: 'Runs, the newest first' }).locator('tbody tr');
  const say = (line: string) => process.stdout.write(`${line}\n`);

  test('the list of 10,000 runs is there soon, holds its first page, and goes on to older ones', async () => {
    const times: number[] = [];
    for (let n = 0; n < 5; n += 1) {
      const began = performance.now();
      await page.goto(`${stack.url}/runs`);
      await rows().nth(49).waitFor();
      times.push(Math.round(performance.now() - began));
    }
    say(`the list of ${String(runs)} runs after ${times.join(', ')} ms`);
    expect(Math.min(...times)).toBeLessThan(10_000);
    await page.locator('[data-connection="live"]').waitFor();
    expect(await rows().count()).toBe(50);
    await page.getByRole('button', { name: 'Older runs' }).click();
    await rows().nth(99).waitFor();
    expect(await rows().count()).toBe(100);
  }, 120_000);

  test('a run of 1,000,000 events opens at its end, with as many rows as fit; its first failure and its first event are a click away', async () => {
    const log = page.locator('.log-rows');
    const count = () => page.locator('.log-row').count();
    let began = performance.now();
    const took = (): string => `${String(Math.round(performance.now() - began))} ms`;
    await page.goto(`${stack.url}/runs/${longRun}`);
    await page.locator(`[data-seq="${String(events)}"]`).waitFor();
    say(`the end of a run of ${String(events)} events after ${took()}`);
    await page.getByText(`event ${String(failedAt)} (RunFailed), attempt 1`).waitFor();
    for (let n = 0; n < 4; n += 1) {
      began = performance.now();
      await page.goto(`${stack.url}/runs/${longRun}`);
      await page.locator(`[data-seq="${String(events)}"]`).waitFor();
      say(`again after ${took()}`);
    }
    expect(await count()).toBeLessThan(60);

    began = performance.now();
    await page.getByRole('button', { name: 'First failure' }).click();
    const failure = page.locator(`[data-seq="${String(failedAt)}"]`);
    await failure.waitFor();
    say(`its first failure after ${took()}`);
    expect(await failure.innerText()).toContain('RunFailed');
    // Shown, and not only there.
    await expect
      .poll(async () => {
        const [box, row] = [await page.locator('.log').boundingBox(), await failure.boundingBox()];
        return box && row && row.y >= box.y && row.y + row.height <= box.y + box.height;
      }, patience)
      .toBe(true);
    expect(await log.getAttribute('data-total')).toBe('401');
    await page.getByRole('button', { name: 'Later events' }).click();
    await expect.poll(() => log.getAttribute('data-total'), patience).toBe('601');
    await page.getByRole('button', { name: 'Earlier events' }).click();
    await expect.poll(() => log.getAttribute('data-total'), patience).toBe('801');
    // What is read stays where it is when earlier events come above it.
    expect(await failure.isVisible()).toBe(true);

    await page.getByRole('button', { name: 'First event' }).click();
    await page.locator('[data-seq="1"]').waitFor();
    expect(await page.getByRole('button', { name: 'Earlier events' }).count()).toBe(0);
    await page.getByRole('button', { name: 'To the end' }).click();
    await page.locator(`[data-seq="${String(events)}"]`).waitFor();
    expect(await count()).toBeLessThan(60);
    expect(bench.complaints).toEqual([]);
  }, 120_000);

  test('fifty events a second leave the main thread free', async () => {
    const runId = await many.addRunningRun(20_000);
    await page.goto(`${stack.url}/runs/${runId}`);
    await page.locator('[data-connection="live"]').waitFor();
    await page.locator('[data-seq="20000"]').waitFor();
    await many.appendSteadily(runId, { perSecond: 50, seconds: 3 });
    const seen = await watchMainThread(bench.browser, page, () =>
      many.appendSteadily(runId, { perSecond: 50, seconds: 10 }),
    );
    say(`fifty events a second: ${JSON.stringify(seen)}`);
    // All of them came, and the page followed.
    await page.locator('[data-seq="20650"]').waitFor();
    // By its own time on a processor: by the wall clock a task that waits for a core of a busy machine is long as well.
    expect(seen.longestCpuMs).toBeLessThan(50);
    expect(seen.cpuMs / 1_000 / seen.seconds).toBeLessThan(0.2);
    // Not once for each event, and of each event its own row.
    expect(seen.draws / seen.seconds).toBeLessThan(15);
    expect(seen.changes / 500).toBeLessThan(4.5);
    expect(bench.complaints).toEqual([]);
  }, 180_000);
});

if (browserMissing !== undefined) test('the dashboard in Chromium', (context) => context.skip(browserMissing));
