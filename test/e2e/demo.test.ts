/** The README's first command, as a newcomer runs it: empty folder, nothing configured. */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { startFlux, freePort, temporaryFolder } from '../support/flux.ts';

let home: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => {
  home = await temporaryFolder('demo');
});
afterAll(() => home.remove());

test('the demo loads all agencies’ data, survives the worker that it kills, and every run reconciles', async () => {
  const env = { FLUX_PORT: String(await freePort()), FLUX_METRICS_PORT: '0' };
  const { code, stdout, stderr } = await startFlux(['demo', '--exit'], { home: home.folder, env }).ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/>> SIGKILL to worker/);
  expect(stdout).toMatch(/ bts +flights +3,000,000 +2,999,997 +3 +0 .*yes/);
  expect(stdout.match(/ yes$/gm)).toHaveLength(9);
  expect(stdout).toContain('Every run reconciled');
});
