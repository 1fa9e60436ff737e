import { type Command, InvalidArgumentError, Option } from 'commander';

import type { BackfillDateStatus, BackfillStep, Flux } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';

type Changed = Awaited<ReturnType<Flux['api']['cancelBackfill']>>;
type Backfill = NonNullable<Awaited<ReturnType<Flux['api']['backfill']>>>;
type BackfillDate = Backfill['dates']['edges'][number]['node'];

interface StartOptions extends ApiOptions {
  from: string;
  to: string;
  step?: string;
  concurrency?: number;
  source?: string;
  priority?: number;
  reason?: string;
  idempotencyKey?: string;
}

export function addBackfills(program: Command): void {
  const backfills = program.command('backfills').description('Backfills: one run for each date of a range.');
  withApiOptions(backfills.command('start'))
    .description('Start a backfill of a pipeline whose source path holds {date}, or {year}, {month} and {day}.')
    .argument('<pipeline>', 'the pipeline’s name')
    .requiredOption('--from <date>', 'the first date, YYYY-MM-DD')
    .requiredOption('--to <date>', 'the last date, inclusive')
    .addOption(new Option('--step <step>', 'which dates').choices(['day', 'month']))
    .option('--concurrency <count>', 'most runs at once, 1 to 50', whole)
    .option('--source <path>', 'a path in place of the pipeline’s own')
    .option('--priority <number>', 'that of its runs, -100 to 100', whole)
    .option('--reason <text>', 'why, for the audit log')
    .option('--idempotency-key <key>', 'repeating the command with the same key does it once')
    .action(start);
  withApiOptions(backfills.command('list'))
    .description('List backfills, newest first.')
    .option('--first <count>', 'how many, at most 200', whole, 20)
    .action(list);
  withApiOptions(backfills.command('show'))
    .description('Show a backfill with its dates; exit code 1 when some have failed.')
    .argument('<id>', 'its id')
    .option('--status <status>', 'only the dates that stand so, such as FAILED')
    .action(show);
  for (const [verb, mutation, description] of [
    ['cancel', 'cancelBackfill', 'Start no more dates, and ask the runs under way to stop.'],
    ['resume', 'resumeBackfill', 'Start anew the dates that failed or were cancelled, and no others.'],
  ] as const) {
    withApiOptions(backfills.command(verb))
      .description(description)
      .argument('<id>', 'its id')
      .requiredOption('--reason <text>', 'why, for the audit log')
      .action((id: string, options: ApiOptions & { reason: string }) =>
        change(options, (api) => api[mutation]({ id, reason: options.reason })),
      );
  }
}

async function start(pipeline: string, options: StartOptions): Promise<void> {
  const input = {
    pipeline,
    firstDate: options.from,
    lastDate: options.to,
    step: (options.step?.toUpperCase() ?? null) as BackfillStep | null,
    concurrency: options.concurrency ?? null,
    source: options.source ?? null,
    priority: options.priority ?? null,
    reason: options.reason ?? null,
    idempotencyKey: options.idempotencyKey ?? null,
  };
  await change(options, (api) => api.startBackfill(input));
}

async function change(options: ApiOptions, ask: (api: Flux['api']) => Promise<Changed>): Promise<void> {
  await withApi(options, async (api) => {
    const backfill = successOf(await ask(api.flux.api));
    if (options.json) return printJson(backfill);
    print(
      `Backfill ${backfill.backfillId} is ${backfill.status}: ${progressOf(backfill)}. See flux backfills show ${backfill.backfillId}`,
    );
  });
}

function progressOf({
  progress: { total, completed, failed, running, cancelled },
}: Pick<Backfill, 'progress'>): string {
  const parts = [`${String(completed)} of ${String(total)} dates completed`];
  if (running > 0) parts.push(`${String(running)} running`);
  if (failed > 0) parts.push(`${String(failed)} failed`);
  if (cancelled > 0) parts.push(`${String(cancelled)} cancelled`);
  return parts.join(', ');
}

async function list(options: ApiOptions & { first: number }): Promise<void> {
  await withApi(options, async (api) => {
    const backfills = await api.flux.api.backfills({ first: options.first });
    const all = backfills.edges.map(({ node }) => node);
    if (options.json) return printJson(all);
    if (all.length === 0) return print('There are no backfills. Start one with flux backfills start PIPELINE.');
    printTable(
      ['backfill', 'pipeline', 'dates', 'status', 'progress'],
      all.map((b) => [b.backfillId, b.pipelineName, `${b.firstDate} to ${b.lastDate}`, b.status, progressOf(b)]),
    );
  });
}

async function show(id: string, options: ApiOptions & { status?: string }): Promise<void> {
  await withApi(options, async (api) => {
    const dates: BackfillDate[] = [];
    let found: Omit<Backfill, 'dates'> | null = null;
    let after: string | null = null;
    const status = (options.status ?? null) as BackfillDateStatus | null;
    do {
      const answer: Backfill | null | undefined = await api.flux.api.backfill({ id, status, after });
      if (!answer) {
        note(`NOT_FOUND: There is no backfill ${id}. List yours with flux backfills list.`);
        process.exitCode = 1;
        return;
      }
      const { dates: page, ...backfill } = answer;
      found = backfill;
      dates.push(...page.edges.map(({ node }) => node));
      after = page.pageInfo.hasNextPage ? (page.pageInfo.endCursor ?? null) : null;
    } while (after !== null);
    if (found.progress.failed > 0) process.exitCode = 1;
    if (options.json) return printJson({ ...found, dates });
    print(`${found.pipelineName}, ${found.firstDate} to ${found.lastDate}, ${found.status}: ${progressOf(found)}`);
    printTable(
      ['date', 'status', 'attempt', 'run', 'message'],
      dates.map(({ date, status, attempt, run, message }) => [
        date,
        status,
        String(attempt),
        run?.id ?? '',
        message ?? '',
      ]),
    );
  });
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value)) return value;
  throw new InvalidArgumentError('It should be a whole number.');
}
