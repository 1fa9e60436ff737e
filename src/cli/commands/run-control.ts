import { type Command, InvalidArgumentError } from 'commander';

import type { Flux, Success } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { type ApiClient, successOf } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';
import { watchToEnd } from '../watch-run.ts';
import { addBulk, type BulkOptions, controlAll, withBulkOptions } from './run-bulk.ts';

type ControlledRun = Success<Awaited<ReturnType<Flux['api']['cancelRun']>>>;

/** What every verb sends beside its own input. */
interface Asked {
  reason: string;
  idempotencyKey?: string;
}

interface ControlOptions extends ApiOptions {
  reason?: string;
  idempotencyKey?: string;
  watch?: boolean;
}

/** The verbs for a run that there is: cancel, resume, rerun, fork, reprocess, replay. */
export function addRunControl(runs: Command): void {
  withBulkOptions(verb(runs, 'cancel', 'id', 'the run’s id', { optional: true }))
    .description(
      'Ask a run to stop; it is CANCELLED when its workers have acknowledged, at the latest at the deadline.',
    )
    .requiredOption('--reason <text>', 'why, for the run’s history and the audit log')
    .option('--grace <seconds>', 'how long its workers have, 1 to 3600', seconds)
    .action(cancel);
  withBulkOptions(verb(runs, 'resume', 'id', 'the run’s id', { optional: true }))
    .description('Begin the next attempt of a run that failed or was cancelled, from its checkpoints.')
    .option('--reason <text>', 'why, for the run’s history and the audit log; needed unless --plan')
    .option('--plan', 'show what it would keep and do, and do nothing')
    .action(resume);
  addBulk(runs);
  verb(runs, 'rerun', 'id', 'the run’s id')
    .description('Start a new run with the same inputs as another, down to the bytes of its source.')
    .option('--reason <text>', 'why, for the audit log')
    .option('--current', 'with the pipeline’s current version instead of the first run’s')
    .action((id: string, options: ControlOptions & { current?: boolean }) => {
      const pipeline = options.current ? 'CURRENT' : 'PINNED';
      return control(options, ({ api }, asked) => api.rerunRun({ runId: id, pipeline, ...asked }), sayQueued);
    });
  verb(runs, 'fork', 'checkpoint', 'the checkpoint’s id')
    .description('Start a new run that goes on from a checkpoint of another.')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .option('--current', 'with the pipeline’s current version, where it does the same to each record')
    .action((id: string, options: ControlOptions & { current?: boolean }) => {
      const pipeline = options.current ? 'CURRENT' : 'PINNED';
      return control(options, ({ api }, asked) => api.forkRun({ checkpointId: id, pipeline, ...asked }), sayQueued);
    });
  verb(runs, 'reprocess', 'id', 'the id of the run that rejected them')
    .description('Put a completed run’s rejected records through the pipeline’s current version again, each once.')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .action((id: string, options: ControlOptions) =>
      control(options, ({ api }, asked) => api.reprocessRejected({ runId: id, ...asked }), sayQueued),
    );
  withApiOptions(runs.command('replay'))
    .description('Derive a run’s state from its events alone and compare; exit code 1 when they differ.')
    .argument('<id>', 'the run’s id')
    .option('--reason <text>', 'why, for the audit log')
    .action(replay);
}

async function replay(id: string, options: ControlOptions): Promise<void> {
  await withApi(options, async (api) => {
    const found = successOf(await api.flux.api.replayRun({ runId: id, reason: options.reason ?? null }));
    if (options.json) printJson(found);
    else if (found.matches) print(`The ${String(found.eventCount)} events give the run's state: ${found.storedHash}`);
    else print(`The events and the run's state differ:\n${found.differences.map((line) => `  ${line}`).join('\n')}`);
    if (!found.matches) process.exitCode = 1;
  });
}

function verb(runs: Command, name: string, argument: string, description: string, { optional = false } = {}): Command {
  return withApiOptions(runs.command(name))
    .argument(optional ? `[${argument}]` : `<${argument}>`, description)
    .option('--idempotency-key <key>', 'repeating the command with the same key does it once')
    .option('--watch', 'follow the run to its end; exit code 1 unless it completes');
}

/** One run, or with --all those that a filter means. */
function requireOneOrAll(
  id: string | undefined,
  { all = false, status, pipeline }: BulkOptions,
  command: Command,
): void {
  if ((id === undefined) !== all) command.error('error: name a run or say --all, one of the two');
  if (!all && (status ?? pipeline) !== undefined) command.error('error: --status and --pipeline go with --all');
}

type VerbOptions = ControlOptions & BulkOptions;

async function cancel(
  id: string | undefined,
  options: VerbOptions & { grace?: number },
  command: Command,
): Promise<void> {
  requireOneOrAll(id, options, command);
  const graceSeconds = options.grace ?? null;
  if (options.all) return controlAll('cancel', options, { graceSeconds });
  return control(
    options,
    ({ api }, asked) => api.cancelRun({ runId: id as string, graceSeconds, ...asked }),
    sayCancelled,
  );
}

async function resume(
  id: string | undefined,
  options: VerbOptions & { plan?: boolean },
  command: Command,
): Promise<void> {
  requireOneOrAll(id, options, command);
  if (options.plan && id === undefined) command.error('error: --plan looks at one run');
  if (options.plan && id !== undefined) return withApi(options, (api) => showPlan(api, id, options));
  if (options.reason === undefined) command.error('error: say why with --reason, or look first with --plan');
  if (options.all) return controlAll('resume', options);
  return control(options, ({ api }, asked) => api.resumeRun({ runId: id as string, ...asked }), sayResumed);
}

async function control(
  options: ControlOptions,
  ask: (flux: Flux, asked: Asked) => ReturnType<Flux['api']['forkRun'] | Flux['api']['cancelRun']>,
  say: (run: ControlledRun) => string,
): Promise<void> {
  await withApi(options, async (api) => {
    const { reason = '', idempotencyKey } = options;
    const run = successOf(await ask(api.flux, { reason, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) }));
    if (options.watch) {
      if (!options.json) note(say(run));
      return watchToEnd(api, run.id, options);
    }
    if (options.json) return printJson(run);
    print(say(run));
  });
}

function sayCancelled({ id, status, cancelDeadline }: ControlledRun): string {
  if (status === 'CANCELLED') return `Run ${id} is CANCELLED.`;
  return `Run ${id} is ${status}; what has not acknowledged is ended by force at ${cancelDeadline ?? 'its deadline'}.`;
}

function sayResumed({ id, attempt }: ControlledRun): string {
  return `Run ${id} goes on with attempt ${String(attempt)}. Follow it with flux runs watch ${id}`;
}

function sayQueued({ id }: ControlledRun): string {
  return `Run ${id} is queued. Follow it with flux runs watch ${id}`;
}

async function showPlan(api: ApiClient, id: string, { json }: ControlOptions): Promise<void> {
  const run = await api.flux.api.resumePlan({ id });
  const plan = run?.resumePlan;
  if (json) printJson(plan ?? null);
  else if (!plan) note(`NOT_FOUND: There is no run ${id}. List yours with flux runs list.`);
  else {
    printTable(
      ['partition', 'kind', 'becomes', 'from checkpoint', 'records kept'],
      plan.partitions.map(({ partitionNo, kind, disposition, checkpoint, recordsKept }) => [
        String(partitionNo),
        kind,
        disposition,
        checkpoint ? String(checkpoint.version) : '',
        recordsKept,
      ]),
    );
    if (plan.forbiddenBy) note(`${plan.forbiddenBy.code}: ${plan.forbiddenBy.message}`);
  }
  if (!plan || plan.forbiddenBy) process.exitCode = 1;
}

function seconds(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 3_600) return value;
  throw new InvalidArgumentError('It should be 1 to 3600.');
}
