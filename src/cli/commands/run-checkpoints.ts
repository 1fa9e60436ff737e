import type { Command } from 'commander';

import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { note, print, printJson, printTable } from '../output.ts';

const checkpointsOfRun = /* GraphQL */ `
  query CliCheckpoints($id: ID!, $after: String) {
    run(id: $id) {
      checkpoints(first: 200, after: $after) {
        edges {
          node {
            id
            partitionNo: partition
            version
            status
            hash
            integrity
            createdAt
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

const verification = /* GraphQL */ `
  query CliVerifyCheckpoints($id: ID!) {
    run(id: $id) {
      checkpointVerification {
        verified
        checkpointCount
        faults {
          partitionNo
          version
          problem
        }
      }
    }
  }
`;

interface Checkpoint {
  id: string;
  partitionNo: number;
  version: number;
  status: string;
  hash: string;
  integrity: string;
  createdAt: string;
}

interface Page {
  edges: { node: Checkpoint }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

interface Verification {
  verified: boolean;
  checkpointCount: number;
  faults: { partitionNo: number; version: number; problem: string }[];
}

/** flux runs checkpoints RUN [--verify] */
export function addCheckpoints(runs: Command): void {
  withApiOptions(runs.command('checkpoints'))
    .description('List a run’s checkpoints, or verify all of them; exit code 1 when one does not hold.')
    .argument('<id>', 'the run’s id')
    .option('--verify', 'recompute every digest, place and chain, and hold them against the run’s history')
    .action((id: string, options: ApiOptions & { verify?: boolean }) =>
      options.verify ? verify(id, options) : list(id, options),
    );
}

async function list(id: string, options: ApiOptions): Promise<void> {
  await withApi(options, async (api) => {
    const all: Checkpoint[] = [];
    let after: string | null = null;
    do {
      const answer: { run: { checkpoints: Page } | null } = await api.request(checkpointsOfRun, { id, after });
      if (!answer.run) return sayUnknown(id, options);
      all.push(...answer.run.checkpoints.edges.map(({ node }) => node));
      const { hasNextPage, endCursor } = answer.run.checkpoints.pageInfo;
      after = hasNextPage ? endCursor : null;
    } while (after !== null);
    if (options.json) printJson(all);
    else {
      printTable(
        ['checkpoint', 'partition', 'version', 'status', 'integrity', 'saved'],
        all.map((each) => [
          each.id,
          String(each.partitionNo),
          String(each.version),
          each.status,
          each.integrity,
          each.createdAt,
        ]),
      );
    }
    if (all.some(({ integrity }) => integrity === 'CORRUPTED')) process.exitCode = 1;
  });
}

async function verify(id: string, options: ApiOptions): Promise<void> {
  await withApi(options, async (api) => {
    const { run } = await api.request<{ run: { checkpointVerification: Verification } | null }>(verification, { id });
    if (!run) return sayUnknown(id, options);
    const { verified, checkpointCount, faults } = run.checkpointVerification;
    if (options.json) printJson(run.checkpointVerification);
    else if (verified) print(`All ${String(checkpointCount)} checkpoints are as they were saved.`);
    else {
      printTable(
        ['partition', 'version', 'problem'],
        faults.map(({ partitionNo, version, problem }) => [String(partitionNo), String(version), problem]),
      );
    }
    if (!verified) process.exitCode = 1;
  });
}

function sayUnknown(id: string, { json }: ApiOptions): void {
  if (json) printJson(null);
  else note(`NOT_FOUND: There is no run ${id}. List yours with flux runs list.`);
  process.exitCode = 1;
}
