import type { ApiClient } from '../client.ts';
import { formatCount, formatTable } from './screen.ts';
import type { DemoRun } from './watch-run.ts';

interface Verdict {
  status: string;
  startedAt: string | null;
  finishedAt: string | null;
  failure: { code: string; message: string } | null;
  reconciliation: {
    balanced: boolean;
    differences: string[];
    recordsRead: string;
    recordsWritten: string;
    recordsRejected: string;
    recordsFiltered: string;
  } | null;
}

interface CheckpointPage {
  edges: { node: { integrity: string } }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

const runDocument = /* GraphQL */ `
  query DemoRun($run: ID!) {
    run(id: $run) {
      status
      startedAt
      finishedAt
      failure {
        code
        message
      }
      reconciliation {
        balanced
        differences
        recordsRead
        recordsWritten
        recordsRejected
        recordsFiltered
      }
    }
  }
`;

const checkpointsDocument = /* GraphQL */ `
  query DemoCheckpoints($run: ID!, $after: String) {
    run(id: $run) {
      checkpoints(first: 100, after: $after) {
        edges {
          node {
            integrity
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`;

/** A finished run as the demo reports it. */
export interface RunResult {
  run: DemoRun;
  verdict: Verdict;
  checkpoints: { verified: number; total: number };
  /** Completed, its counts add up, and every checkpoint verifies. */
  sound: boolean;
}

export async function readResult(api: ApiClient, run: DemoRun): Promise<RunResult> {
  const { run: verdict } = await api.request<{ run: Verdict }>(runDocument, { run: run.id });
  const checkpoints = await countCheckpoints(api, run.id);
  const sound =
    verdict.status === 'COMPLETED' &&
    verdict.reconciliation?.balanced === true &&
    checkpoints.total > 0 &&
    checkpoints.verified === checkpoints.total;
  return { run, verdict, checkpoints, sound };
}

async function countCheckpoints(api: ApiClient, run: string): Promise<{ verified: number; total: number }> {
  const counts = { verified: 0, total: 0 };
  let after: string | null = null;
  do {
    const { run: page }: { run: { checkpoints: CheckpointPage } } = await api.request(checkpointsDocument, {
      run,
      after,
    });
    counts.total += page.checkpoints.edges.length;
    counts.verified += page.checkpoints.edges.filter(({ node }) => node.integrity === 'VERIFIED').length;
    after = page.checkpoints.pageInfo.hasNextPage ? page.checkpoints.pageInfo.endCursor : null;
  } while (after !== null);
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
