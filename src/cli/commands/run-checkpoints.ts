import type { Command } from 'commander';

import type { Flux } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { note, print, printJson, printTable } from '../output.ts';

type Checkpoints = NonNullable<Awaited<ReturnType<Flux['api']['runCheckpoints']>>>['checkpoints'];

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
    const all: Checkpoints['edges'][number]['node'][] = [];
    let after: string | null = null;
    do {
      const run: { checkpoints: Checkpoints } | null = await api.flux.api.runCheckpoints({ id, first: 200, after });
      if (!run) return sayUnknown(id, options);
      all.push(...run.checkpoints.edges.map(({ node }) => node));
      const { hasNextPage, endCursor } = run.checkpoints.pageInfo;
      after = hasNextPage ? (endCursor ?? null) : null;
    } while (after !== null);
    if (options.json) printJson(all.map((each) => ({ ...each, partitionNo: each.partition })));
    else {
      printTable(
        ['checkpoint', 'partition', 'version', 'status', 'integrity', 'saved'],
        all.map((each) => [
          each.id,
          String(each.partition),
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
    const run = await api.flux.api.checkpointVerification({ id });
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
