import { setTimeout as delay } from 'node:timers/promises';

import type { Flux } from '#sdk';
import type { ApiClient } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';
import { stopSignal } from '../stop-signal.ts';

type DryRun = NonNullable<Awaited<ReturnType<Flux['api']['dryRun']>>>;
type Plan = NonNullable<DryRun['dryRunPlan']>;

const pollMs = 300;

/** Waits for a dry run's end and prints what it found; exit code 1 when it failed. */
export async function showDryRun(api: ApiClient, id: string, { json }: { json?: boolean }): Promise<void> {
  const signal = stopSignal();
  for (;;) {
    const run = await api.flux.api.dryRun({ id });
    if (!run || run.isTerminal) return say(run, json === true);
    await delay(pollMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

function say(run: DryRun | null, json: boolean): void {
  if (json) printJson(run);
  else if (run?.dryRunPlan) printPlan(run.dryRunPlan);
  else note(`${run?.failure?.code ?? run?.status ?? 'NOT_FOUND'}: ${run?.failure?.message ?? 'there is no plan.'}`);
  if (run?.status !== 'COMPLETED') process.exitCode = 1;
}

function printPlan({ origin, recordsTotal, bytesTotal, estimate, steps, partitions, ...plan }: Plan): void {
  print(
    `${origin}: ${recordsTotal ?? 'an unknown number of'} records, ${bytesTotal} bytes, ${String(partitions.length)} partitions.`,
  );
  print(`Steps: ${steps.map(({ step }) => step).join(' > ')}`);
  print(
    `By the first ${String(plan.sample.recordsRead)}: about ${estimate.recordsWritten ?? '?'} would be written, ${estimate.recordsRejected ?? '?'} rejected.`,
  );
  if (plan.sample.findings.length > 0) {
    printTable(
      ['broken rule', 'at', 'records', 'first', 'example'],
      plan.sample.findings.map((each) => [
        each.rule,
        each.path,
        String(each.count),
        String(each.recordNo),
        each.example ?? '',
      ]),
    );
  }
  if (plan.sample.personalData.length > 0) {
    printTable(
      ['column', 'looks like', 'values'],
      plan.sample.personalData.map((each) => [
        each.column,
        each.kind,
        `${String(each.matches)} of ${String(each.checked)}`,
      ]),
    );
  }
  if (plan.destination) print(destinationText(plan.destination));
  print('Nothing was written.');
}

function destinationText(to: NonNullable<Plan['destination']>): string {
  const target = `Dataset ${to.dataset} (${to.mode})`;
  if (!to.exists) return `${target} would be made.`;
  if (!to.fits) {
    const differences = [
      ...to.added.map(({ name }) => `only the output has ${name}`),
      ...to.removed.map(({ name }) => `only the dataset has ${name}`),
      ...to.changed.map(({ name, from, to: type }) => `${name} is ${from} and would be ${type}`),
    ];
    return `${target} does not fit: ${differences.join('; ')}.`;
  }
  const replaced = to.supersededLoads > 0 ? `, of which ${String(to.supersededLoads)} loads would be replaced` : '';
  return `${target} holds ${to.records} records${replaced}.`;
}
