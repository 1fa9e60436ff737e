import { type Command, InvalidArgumentError, Option } from 'commander';

import type { Flux, RunStage, RunStatus } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';
import { readDocument } from '../read-document.ts';
import { watchToEnd } from '../watch-run.ts';
import { showDryRun } from './dry-run.ts';
import { addCheckpoints } from './run-checkpoints.ts';
import { addRunControl } from './run-control.ts';

type ListedRun = Awaited<ReturnType<Flux['api']['runs']>>['edges'][number]['node'];

interface StartOptions extends ApiOptions {
  payload?: string;
  reason?: string;
  idempotencyKey?: string;
  dryRun?: boolean;
  full?: boolean;
  stage?: string;
  priority?: number;
  watch?: boolean;
}

interface ListOptions extends ApiOptions {
  pipeline?: string;
  status?: string[];
  first: number;
}

export function addRuns(program: Command): void {
  const runs = program.command('runs').description('Runs of an agency.');
  withApiOptions(runs.command('start'))
    .description('Start a run of a pipeline, or of a payload (run-payload.schema.json).')
    .argument('[pipeline]', 'the pipeline’s name')
    .option('--payload <file>', 'a payload instead of a name, or - for standard input')
    .addOption(
      new Option('--stage <stage>', 'one stage alone, on what the stage before has left').choices([
        'ingest',
        'transform',
        'export',
        'full',
      ]),
    )
    .option('--dry-run', 'read and check, write nothing; waits for the plan and prints it')
    .option('--full', 'read everything, whatever earlier runs have read (source.incremental)')
    .option('--priority <number>', 'from -100 to 100: the agency’s runs with more are taken first', priority)
    .option('--reason <text>', 'why, for the audit log')
    .option('--idempotency-key <key>', 'repeating the command with the same key returns the first run')
    .option('--watch', 'follow it to its end; exit code 1 unless it completes')
    .action(start);
  withApiOptions(runs.command('list'))
    .description('List runs, newest first.')
    .option('--pipeline <name>', 'of this pipeline only')
    .option('--status <status...>', 'in these states only, such as FAILED')
    .option('--first <count>', 'how many, at most 200', first, 20)
    .action(list);
  withApiOptions(runs.command('watch'))
    .description('Follow a run’s events and progress to its end; exit code 1 unless it completes.')
    .argument('<id>', 'the run’s id, as start and list print it')
    .option('--after <cursor>', 'go on after this event')
    .action(async (id: string, options: ApiOptions & { after?: string }) => {
      await withApi(options, (api) => watchToEnd(api, id, options));
    });
  addRunControl(runs);
  addCheckpoints(runs);
}

async function start(pipeline: string | undefined, options: StartOptions, command: Command): Promise<void> {
  if ((pipeline === undefined) === (options.payload === undefined)) {
    command.error('error: name a pipeline or give a --payload, one of the two');
  }
  const payload = options.payload === undefined ? null : await readDocument(options.payload);
  await withApi(options, async (api) => {
    const run = successOf(
      await api.flux.api.startRun({
        pipeline: pipeline ?? null,
        payload,
        reason: options.reason ?? null,
        idempotencyKey: options.idempotencyKey ?? null,
        ...(options.dryRun ? { dryRun: true } : {}),
        ...(options.full ? { full: true } : {}),
        stage: (options.stage?.toUpperCase() ?? null) as RunStage | null,
        priority: options.priority ?? null,
      }),
    );
    if (options.dryRun && !options.watch) return showDryRun(api, run.id, options);
    if (!options.watch) {
      if (options.json) return printJson(run);
      return print(
        `Run ${run.id} of ${run.pipeline?.name ?? 'its pipeline'} is queued. Follow it with flux runs watch ${run.id}`,
      );
    }
    if (!options.json) note(`Run ${run.id} of ${run.pipeline?.name ?? 'its pipeline'} is queued.`);
    await watchToEnd(api, run.id, options);
  });
}

async function list(options: ListOptions): Promise<void> {
  await withApi(options, async (api) => {
    const filter = {
      ...(options.pipeline ? { pipeline: options.pipeline } : {}),
      ...(options.status ? { status: options.status as RunStatus[] } : {}),
    };
    const { edges } = await api.flux.api.runs({ first: options.first, filter });
    const all = edges.map(({ node }) => node);
    if (options.json) return printJson(all);
    if (all.length === 0) return print('There are no runs. Start one with flux runs start PIPELINE.');
    printTable(
      ['run', 'pipeline', 'status', 'read', 'written', 'rejected', 'created'],
      all.map((run) => [
        run.id,
        run.pipeline?.name ?? '',
        statusOf(run),
        run.progress?.recordsRead ?? '',
        run.progress?.recordsWritten ?? '',
        run.progress?.recordsRejected ?? '',
        run.createdAt,
      ]),
    );
  });
}

/** With what it failed of, or what it waits for. */
function statusOf({ status, failure, waitingReason }: Pick<ListedRun, 'status' | 'failure' | 'waitingReason'>): string {
  if (failure) return `${status} (${failure.code})`;
  if (!waitingReason) return status;
  const { code, queuePosition } = waitingReason;
  return `${status} (${code}${queuePosition === null ? '' : ` ${String(queuePosition)}`})`;
}

function first(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 200) return value;
  throw new InvalidArgumentError('It should be 1 to 200.');
}

function priority(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= -100 && value <= 100) return value;
  throw new InvalidArgumentError('It should be -100 to 100.');
}
