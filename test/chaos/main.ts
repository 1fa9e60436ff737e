/**
 * `npm run chaos -- [--minutes N] [--seed S] [--only WORDS]`: lets faults loose on real workers and a real server, scenario
 * after scenario for N minutes (5 by default), and asks every invariant after each. Exit code 1 when one does not hold.
 */
import { parseArgs } from 'node:util';

import { openCampaign } from './campaign.ts';
import { inWords, reportOn } from './report.ts';
import { scenariosOf } from './scenarios.ts';

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' } },
});
const minutes = Number(values.minutes ?? 5);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  process.stderr.write('Usage: npm run chaos -- [--minutes N] [--seed S] [--only WORDS]\n');
  process.exit(2);
}
const say = (line: string): void => void process.stdout.write(`${line}\n`);

say(`chaos for ${String(minutes)} min; again: npm run chaos -- --minutes ${String(minutes)} --seed ${String(seed)}`);
const campaign = await openCampaign(seed, {});
const failures: string[] = [];
const startedAt = performance.now();
const elapsed = (): number => (performance.now() - startedAt) / 1_000;
try {
  const chosen = scenariosOf((why) => say(`  skipped: ${why}`)).filter(({ name }) => name.includes(values.only ?? ''));
  for (let round = 0; elapsed() < minutes * 60; round += 1) {
    for (const scenario of chosen) {
      if (elapsed() >= minutes * 60 || (round > 0 && scenario.once === true)) continue;
      const wrong = [...(await scenario.run(campaign)), ...(await campaign.settle())];
      say(`${elapsed().toFixed(0).padStart(5)} s  ${wrong.length === 0 ? 'holds' : 'BROKEN'}  ${scenario.name}`);
      for (const what of wrong) say(`         ${what}`);
      failures.push(...wrong);
    }
  }
  say(`\n${inWords(await reportOn(campaign), campaign.faults)}`);
} finally {
  await campaign.close();
}
process.exit(failures.length === 0 ? 0 : 1);
