import { Command, CommanderError } from 'commander';

import { printFailure } from './output.ts';

/** Commands that are loaded together: the first words of them, and what adds them to the program. */
type Group = readonly [names: readonly string[], load: () => Promise<(program: Command) => void>];

/** In the order of the help. To load all of them takes longer than most commands do. */
const groups: readonly Group[] = [
  [['up'], async () => (await import('./commands/up.ts')).addUp],
  [['serve', 'worker', 'sealer'], async () => (await import('./commands/services.ts')).addServices],
  [['migrate'], async () => (await import('./commands/migrate.ts')).addMigrate],
  [['demo'], () => Promise.resolve(addDemo)],
  [['token'], async () => (await import('./commands/token.ts')).addToken],
  [['agencies'], async () => (await import('./commands/agencies.ts')).addAgencies],
  [['issuers'], async () => (await import('./commands/issuers.ts')).addIssuers],
  [['keys'], async () => (await import('./commands/keys.ts')).addKeys],
  [['runs'], async () => (await import('./commands/runs.ts')).addRuns],
  [['schedules'], async () => (await import('./commands/schedules.ts')).addSchedules],
  [['backfills'], async () => (await import('./commands/backfills.ts')).addBackfills],
  [['uploads'], async () => (await import('./commands/uploads.ts')).addUploads],
  [['datasets'], async () => (await import('./commands/datasets.ts')).addDatasets],
  [['webhooks'], async () => (await import('./commands/webhooks.ts')).addWebhooks],
  [['pipelines', 'contracts', 'connections'], async () => (await import('./commands/definitions.ts')).addDefinitions],
  [['validate'], async () => (await import('./commands/validate.ts')).addValidate],
  [['audit'], async () => (await import('./commands/audit.ts')).addAudit],
  [['retention'], async () => (await import('./commands/retention.ts')).addRetention],
  [['config'], async () => (await import('./commands/config.ts')).addConfig],
  [['doctor'], async () => (await import('./commands/doctor.ts')).addDoctor],
];

/** The `flux` command. Sets the process's exit code; resolves when the command is done. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = await createProgram(argv[2]);
  try {
    await program.parseAsync(argv);
  } catch (cause) {
    process.exitCode =
      cause instanceof CommanderError ? usageExitCode(cause) : printFailure(cause, argv.includes('--json'));
  }
}

/** The program without running a command. @param name a command's first word; any other, or none: all commands */
export async function createProgram(name?: string): Promise<Command> {
  const program = new Command('flux')
    .description('Flux: multi-agency ETL that is live, resumable, reconciled, isolated and provable.')
    .exitOverride()
    .showHelpAfterError('(flux --help says more)');
  const wanted = groups.filter(([names]) => name !== undefined && names.includes(name));
  const adders = await Promise.all((wanted.length > 0 ? wanted : groups).map(([, load]) => load()));
  // A subcommand inherits exitOverride only from a parent that had it when the subcommand was made.
  for (const add of adders) add(program);
  return program;
}

/** The demo is loaded only when it is asked for: it brings the sample data's package, which production does not install. */
function addDemo(program: Command): void {
  program
    .command('demo')
    .description('Run real federal data of several agencies through the whole product, live in this terminal.')
    .option('--exit', 'stop everything at the end; exit code 0 only if every run reconciled')
    .action(async (options: { exit?: boolean }) => {
      const { runDemo } = await import('./demo/demo.ts');
      process.exitCode = await runDemo({ exit: options.exit === true });
    });
}

/** Help and version are no failure. */
function usageExitCode(cause: CommanderError): number {
  return cause.exitCode === 0 ? 0 : 2;
}
