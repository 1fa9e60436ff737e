import { everyPage } from '#sdk';
import { FluxError } from '../../errors.ts';
import type { ApiClient } from '../client.ts';
import { formatCount, formatTable } from './screen.ts';
import type { DemoRun } from './watch-run.ts';

type Verdict = NonNullable<Awaited<ReturnType<ApiClient['flux']['api']['run']>>>;

/** A finished run as the demo reports it. */
export interface RunResult {
  run: DemoRun;
  verdict: Verdict;
  checkpoints: { verified: number; total: number };
  /** Completed, its counts add up, and every checkpoint verifies. */
  sound: boolean;
}

export async function readResult(api: ApiClient, run: DemoRun): Promise<RunResult> {
  const verdict = await api.flux.api.run({ id: run.id });
  if (!verdict) throw new FluxError('NOT_FOUND', `Run ${run.id} is gone.`);
  const checkpoints = await countCheckpoints(api, run.id);
  const sound =
    verdict.status === 'COMPLETED' &&
    verdict.reconciliation?.balanced === true &&
    checkpoints.total > 0 &&
    checkpoints.verified === checkpoints.total;
  return { run, verdict, checkpoints, sound };
}

async function countCheckpoints(api: ApiClient, id: string): Promise<{ verified: number; total: number }> {
  const counts = { verified: 0, total: 0 };
  const none = { edges: [], pageInfo: { hasNextPage: false, endCursor: null } };
  const page = async (after: string | null) =>
    (await api.flux.api.runCheckpoints({ id, first: 100, after }))?.checkpoints ?? none;
  for await (const { integrity } of everyPage(page)) {
    counts.total += 1;
    if (integrity === 'VERIFIED') counts.verified += 1;
  }
  return counts;
}

/** The table of all runs, and below it what is wrong with those that are not sound. */
export function formatResults(results: readonly RunResult[]): string {
  const header = [
    'agency',
    'pipeline',
    'read',
    'written',
    'rejected',
    'filtered',
    'checkpoints',
    'seconds',
    'reconciled',
  ];
  const rows = results.map(({ run, verdict, checkpoints, sound }) => [
    run.agency,
    run.pipeline,
    ...(['recordsRead', 'recordsWritten', 'recordsRejected', 'recordsFiltered'] as const).map((count) =>
      formatCount(BigInt(verdict.reconciliation?.[count] ?? '0')),
    ),
    `${String(checkpoints.verified)}/${String(checkpoints.total)} verified`,
    secondsOf(verdict),
    sound ? 'yes' : 'NO',
  ]);
  const problems = results
    .filter(({ sound }) => !sound)
    .map(({ run, verdict }) => {
      const reasons = verdict.failure
        ? [`${verdict.failure.code}: ${verdict.failure.message}`]
        : (verdict.reconciliation?.differences ?? []);
      return ` ${run.agency} ${run.pipeline} is ${verdict.status}. ${reasons.join(' ')}`;
    });
  return [formatTable(header, rows), ...problems].join('\n');
}

function secondsOf({ startedAt, finishedAt }: Verdict): string {
  if (startedAt === null || finishedAt === null) return '';
  return ((Date.parse(finishedAt) - Date.parse(startedAt)) / 1000).toFixed(1);
}
