import { setTimeout as pause } from 'node:timers/promises';

import type { Command } from 'commander';

import type { Flux, RunStatus } from '#sdk';
import { FluxError } from '../../errors.ts';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { type ApiClient, successOf } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';

type BulkOperation = NonNullable<Awaited<ReturnType<Flux['api']['bulkOperation']>>>;

/** What `cancel --all` and `resume --all` take beside what they take for one run. */
export interface BulkOptions extends ApiOptions {
  all?: boolean;
  status?: string[];
  pipeline?: string;
  wait: boolean;
  reason?: string;
  idempotencyKey?: string;
}

export function withBulkOptions(command: Command): Command {
  return command
    .option('--all', 'all runs that --status and --pipeline mean now, instead of one')
    .option('--status <status...>', 'with --all: in these states only')
    .option('--pipeline <name>', 'with --all: of this pipeline only')
    .option('--no-wait', 'with --all: do not follow the operation to its end');
}

export function addBulk(runs: Command): void {
  withApiOptions(runs.command('bulk'))
    .description('Show how far a cancel or resume of many runs is; exit code 1 when a run failed.')
    .argument('<id>', 'the operation’s id')
    .action((id: string, options: ApiOptions) =>
      withApi(options, async (api) => show(await standing(api, id), options)),
    );
  withApiOptions(runs.command('abort-bulk'))
    .description('Stop a cancel or resume of many runs; what was done stays done.')
    .argument('<id>', 'the operation’s id')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .option('--idempotency-key <key>', 'repeating the command with the same key does it once')
    .action((id: string, options: ApiOptions & { reason: string; idempotencyKey?: string }) =>
      withApi(options, async (api) => {
        const input = { id, reason: options.reason, idempotencyKey: options.idempotencyKey ?? null };
        successOf(await api.flux.api.abortBulkOperation(input));
        show(await standing(api, id), options);
      }),
    );
}

/** Asks for many runs and, unless told not to wait, follows the operation to its end. */
export async function controlAll(
  verb: 'cancel' | 'resume',
  options: BulkOptions,
  { graceSeconds = null }: { graceSeconds?: number | null } = {},
): Promise<void> {
  await withApi(options, async (api) => {
    const filter = {
      ...(options.status ? { status: options.status as RunStatus[] } : {}),
      ...(options.pipeline === undefined ? {} : { pipeline: options.pipeline }),
    };
    const input = { filter, reason: options.reason ?? '', idempotencyKey: options.idempotencyKey ?? null };
    const { cancelRuns, resumeRuns } = api.flux.api;
    const { operationId } = successOf(
      verb === 'cancel' ? await cancelRuns({ ...input, graceSeconds }) : await resumeRuns(input),
    );
    if (options.wait) return show(await follow(api, operationId, options), options);
    show(await standing(api, operationId), options);
  });
}

const pollMs = 500;

async function follow(api: ApiClient, id: string, { json }: ApiOptions): Promise<BulkOperation> {
  let said = '';
  for (;;) {
    const operation = await standing(api, id);
    const line = progressOf(operation);
    if (!json && line !== said) note(line);
    if (operation.status !== 'RUNNING') return operation;
    said = line;
    await pause(pollMs);
  }
}

async function standing(api: ApiClient, id: string): Promise<BulkOperation> {
  const found = await api.flux.api.bulkOperation({ id });
  if (found) return found;
  throw new FluxError('NOT_FOUND', `There is no bulk operation ${id}.`);
}

function show(operation: BulkOperation, { json }: ApiOptions): void {
  if (json) printJson(operation);
  else {
    print(`Operation ${operation.operationId} is ${operation.status}. ${progressOf(operation)}`);
    const failed = operation.items.edges.map(({ node }) => node);
    if (failed.length > 0) {
      printTable(
        ['run', 'code', 'why'],
        failed.map(({ runId, errorCode, errorMessage }) => [runId, errorCode ?? '', errorMessage ?? '']),
      );
    }
  }
  if (operation.failed > 0) process.exitCode = 1;
}

function progressOf({ total, pending, done, skipped, failed }: BulkOperation): string {
  return `${String(total)} runs: ${String(done)} done, ${String(skipped)} skipped, ${String(failed)} failed, ${String(pending)} pending.`;
}
