import { type Command, InvalidArgumentError, Option } from 'commander';

import type { CatchUp, Flux, Overlap } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { note, print, printJson, printTable } from '../output.ts';

type Changed = Awaited<ReturnType<Flux['api']['pauseSchedule']>>;

interface CreateOptions extends ApiOptions {
  pipeline: string;
  cron: string;
  timeZone?: string;
  catchUp?: string;
  catchUpLimit?: number;
  overlap?: string;
  source?: string;
  priority?: number;
  reason?: string;
  idempotencyKey?: string;
}

export function addSchedules(program: Command): void {
  const schedules = program.command('schedules').description('Schedules: runs that start by themselves.');
  withApiOptions(schedules.command('create'))
    .description('Make a schedule; its first tick is the next one from now.')
    .argument('<name>', 'its name')
    .requiredOption('--pipeline <name>', 'the pipeline that it runs')
    .requiredOption('--cron <fields>', 'minute hour day month weekday, such as "30 2 * * *"')
    .option('--time-zone <zone>', 'in which the cron is read, such as America/New_York; UTC otherwise')
    .addOption(new Option('--catch-up <policy>', 'what becomes of missed ticks').choices(['none', 'latest', 'all']))
    .option('--catch-up-limit <count>', 'most missed ticks that "all" makes up for, 1 to 100', whole)
    .addOption(new Option('--overlap <policy>', 'while a run is not over').choices(['skip', 'queue', 'allow']))
    .option('--source <path>', 'a path in place of the pipeline’s own; may hold {date}, {year}, {month}, {day}')
    .option('--priority <number>', 'that of its runs, -100 to 100', whole)
    .option('--reason <text>', 'why, for the audit log')
    .option('--idempotency-key <key>', 'repeating the command with the same key does it once')
    .action(create);
  withApiOptions(schedules.command('list')).description('List schedules, by name.').action(list);
  withApiOptions(schedules.command('show'))
    .description('Show a schedule with what became of its last ticks.')
    .argument('<name>', 'its name')
    .option('--first <count>', 'how many ticks, at most 200', whole, 20)
    .action(show);
  for (const [verb, mutation, description] of [
    ['pause', 'pauseSchedule', 'Stop a schedule’s ticks until it is resumed.'],
    ['resume', 'resumeSchedule', 'Go on with the next tick from now.'],
    ['remove', 'removeSchedule', 'End a schedule for good; its ticks and runs stay.'],
  ] as const) {
    withApiOptions(schedules.command(verb))
      .description(description)
      .argument('<name>', 'its name')
      .option('--reason <text>', `why, for the audit log${verb === 'resume' ? '' : '; needed'}`)
      .action((name: string, options: ApiOptions & { reason?: string }) =>
        change(options, (api) => api[mutation]({ name, reason: options.reason ?? null })),
      );
  }
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const input = {
    name,
    pipeline: options.pipeline,
    cron: options.cron,
    timeZone: options.timeZone ?? null,
    catchUp: (options.catchUp?.toUpperCase() ?? null) as CatchUp | null,
    catchUpLimit: options.catchUpLimit ?? null,
    overlap: (options.overlap?.toUpperCase() ?? null) as Overlap | null,
    source: options.source ?? null,
    priority: options.priority ?? null,
    reason: options.reason ?? null,
    idempotencyKey: options.idempotencyKey ?? null,
  };
  await change(options, (api) => api.createSchedule(input));
}

async function change(options: ApiOptions, ask: (api: Flux['api']) => Promise<Changed>): Promise<void> {
  await withApi(options, async (api) => {
    const schedule = successOf(await ask(api.flux.api));
    if (options.json) return printJson(schedule);
    const next = !schedule.nextTickAt ? '' : `; its next tick is at ${schedule.nextTickAt}`;
    print(`Schedule ${schedule.name} is ${schedule.status}${next}.`);
  });
}

async function list(options: ApiOptions): Promise<void> {
  await withApi(options, async (api) => {
    const schedules = await api.flux.api.schedules({ first: 200 });
    const all = schedules.edges.map(({ node }) => node);
    if (options.json) return printJson(all);
    if (all.length === 0) return print('There are no schedules. Make one with flux schedules create NAME.');
    printTable(
      ['schedule', 'pipeline', 'status', 'next tick', 'overlap', 'catch-up', 'time zone', 'cron'],
      all.map((s) => [s.name, s.pipelineName, s.status, s.nextTickAt ?? '', s.overlap, s.catchUp, s.timeZone, s.cron]),
    );
  });
}

async function show(name: string, options: ApiOptions & { first: number }): Promise<void> {
  await withApi(options, async (api) => {
    const schedule = await api.flux.api.schedule({ name, ticks: options.first });
    if (!schedule) {
      note(`NOT_FOUND: There is no schedule ${name}. List yours with flux schedules list.`);
      process.exitCode = 1;
      return;
    }
    const ticks = schedule.ticks.edges.map(({ node }) => node);
    if (options.json) return printJson({ ...schedule, ticks });
    print(`${schedule.name}: ${schedule.pipelineName}, "${schedule.cron}" ${schedule.timeZone}, ${schedule.status}`);
    if (schedule.nextTickAt) print(`next tick ${schedule.nextTickAt}`);
    printTable(
      ['tick', 'became', 'run'],
      ticks.map(({ tickAt, status, reason, standsFor, run }) => [
        tickAt,
        `${status}${!reason ? '' : ` (${reason})`}${standsFor > 1 ? `, with ${String(standsFor - 1)} before it` : ''}`,
        run ? `${run.id} ${run.status}` : '',
      ]),
    );
  });
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value)) return value;
  throw new InvalidArgumentError('It should be a whole number.');
}
