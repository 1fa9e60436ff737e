import { afterAll, beforeAll, expect, it } from 'vitest';

import { type Campaign, openCampaign } from './campaign.ts';
import { inWords, reportOn } from './report.ts';
import { scenariosOf } from './scenarios.ts';
import { inTime, NotRun, Stopped, vitestMs } from './suite-clock.ts';

/** Printed, so that the chances of a failure can be had again: FLUX_CHAOS_SEED. */
const seed = Number(process.env.FLUX_CHAOS_SEED ?? Date.now() % 2 ** 31);
let campaign: Campaign;
const skipped: string[] = [];
const notRun: string[] = [];
const told: string[] = [];

// The machine does not lose power in a test, and what a SIGKILL of ours loses is in the kernel's cache.
beforeAll(async () => {
  campaign = await openCampaign(seed, { fsync: 'off', full_page_writes: 'off' });
});
afterAll(() => campaign.close());

it.for(scenariosOf((why) => skipped.push(why)))(
  'keeps every invariant when $name',
  { timeout: vitestMs },
  async ({ name, run }, context) => {
    const startedAt = performance.now();
    let how = 'BROKEN';
    try {
      const wrong = await inTime(name, async () => [...(await run(campaign)), ...(await campaign.settle())]);
      if (wrong.length === 0) how = 'holds';
      expect(wrong, `seed ${String(seed)}`).toEqual([]);
    } catch (cause) {
      if (cause instanceof NotRun || cause instanceof Stopped) how = cause.message.split(':')[0] as string;
      if (!(cause instanceof NotRun)) throw cause;
      notRun.push(name);
      context.skip(cause.message);
    } finally {
      told.push(`${((performance.now() - startedAt) / 1_000).toFixed(0).padStart(5)} s  ${how}  ${name}`);
    }
  },
);

it('loses nothing, and takes over soon', { timeout: vitestMs }, async (context) => {
  process.stdout.write(`chaos, seed ${String(seed)}\n${told.join('\n')}\n`);
  const report = await reportOn(campaign);
  process.stdout.write(`${inWords(report, campaign.faults)}\n`);
  // How much there was to lose. What a slow machine did not come to is skipped above, by name.
  if (notRun.length === 0) {
    expect(report.faults).toBeGreaterThanOrEqual(60);
    expect(report.takeovers.count).toBeGreaterThanOrEqual(20);
  }
  expect(report.takeovers.count).toBeGreaterThan(0);
  expect(report.takeovers.max, report.takeovers.slowest).toBeLessThanOrEqual(10);
  expect(report.checkpoints.acknowledged).toBeGreaterThan(notRun.length === 0 ? 500 : 0);
  expect(report.checkpoints.verified).toBe(report.checkpoints.acknowledged);
  expect(report.saves.succeeded / report.saves.attempted).toBeGreaterThanOrEqual(0.9999);
  if (skipped.length > 0) context.skip(skipped.join('; '));
});
