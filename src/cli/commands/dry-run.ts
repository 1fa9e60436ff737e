import { setTimeout as delay } from 'node:timers/promises';

import type { ApiClient } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';
import { stopSignal } from '../stop-signal.ts';

const dryRunOf = /* GraphQL */ `
  query CliDryRun($id: ID!) {
    run(id: $id) {
      id
      status
      isTerminal
      failure {
        code
        message
      }
      dryRunPlan {
        origin
        sha256
        recordsTotal
        bytesTotal
        estimate {
          recordsWritten
          recordsRejected
          recordsFiltered
        }
        steps {
          stage
          step
          kind
        }
        partitions {
          recordsBefore
          records
        }
        columns {
          name
          type
        }
        sample {
          recordsRead
          recordsGood
          recordsRejected
          recordsFiltered
          findings {
            path
            rule
            count
            recordNo
            example
          }
          personalData {
            column
            kind
            matches
            checked
          }
        }
        destination {
          dataset
          mode
          exists
          fits
          added {
            name
            type
          }
          removed {
            name
            type
          }
          changed {
            name
            from
            to
          }
          loads
          records
          supersededLoads
        }
      }
    }
  }
`;

interface Plan {
  origin: string;
  recordsTotal: string | null;
  bytesTotal: string;
  estimate: { recordsWritten: string | null; recordsRejected: string | null };
  steps: { stage: string; step: string; kind: string }[];
  partitions: unknown[];
  columns: { name: string; type: string }[];
  sample: {
    recordsRead: number;
    findings: { path: string; rule: string; count: number; recordNo: number; example: string | null }[];
    personalData: { column: string; kind: string; matches: number; checked: number }[];
  };
  destination: {
    dataset: string;
    mode: string;
    exists: boolean;
    fits: boolean;
    added: { name: string }[];
    removed: { name: string }[];
    changed: { name: string; from: string; to: string }[];
    records: string;
    supersededLoads: number;
  } | null;
}

interface DryRun {
  status: string;
  isTerminal: boolean;
  failure: { code: string; message: string } | null;
  dryRunPlan: Plan | null;
}

const pollMs = 300;

/** Waits for a dry run's end and prints what it found; exit code 1 when it failed. */
export async function showDryRun(api: ApiClient, id: string, { json }: { json?: boolean }): Promise<void> {
  const signal = stopSignal();
  for (;;) {
    const { run } = await api.request<{ run: DryRun | null }>(dryRunOf, { id });
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
