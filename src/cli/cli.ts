import { Command, CommanderError } from 'commander';

import { addAgencies } from './commands/agencies.ts';
import { addAudit } from './commands/audit.ts';
import { addBackfills } from './commands/backfills.ts';
import { addConfig } from './commands/config.ts';
import { addDefinitions } from './commands/definitions.ts';
import { addDoctor } from './commands/doctor.ts';
import { addIssuers } from './commands/issuers.ts';
import { addKeys } from './commands/keys.ts';
import { addMigrate } from './commands/migrate.ts';
import { addRetention } from './commands/retention.ts';
import { addRuns } from './commands/runs.ts';
import { addSchedules } from './commands/schedules.ts';
import { addServices } from './commands/services.ts';
import { addToken } from './commands/token.ts';
import { addUp } from './commands/up.ts';
import { addDatasets } from './commands/datasets.ts';
import { addUploads } from './commands/uploads.ts';
import { addValidate } from './commands/validate.ts';
import { addWebhooks } from './commands/webhooks.ts';
import { printFailure } from './output.ts';

/** The `flux` command. Sets the process's exit code; resolves when the command is done. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(argv);
  } catch (cause) {
    process.exitCode =
      cause instanceof CommanderError ? usageExitCode(cause) : printFailure(cause, argv.includes('--json'));
  }
}

/** All commands, without running one. */
export function createProgram(): Command {
  const program = new Command('flux')
    .description('Flux: multi-agency ETL that is live, resumable, reconciled, isolated and provable.')
    .exitOverride()
    .showHelpAfterError('(flux --help says more)');
  // A subcommand inherits exitOverride only from a parent that had it when the subcommand was made.
  addUp(program);
  addServices(program);
  addMigrate(program);
  addDemo(program);
  addToken(program);
  addAgencies(program);
  addIssuers(program);
  addKeys(program);
  addRuns(program);
  addSchedules(program);
  addBackfills(program);
  addUploads(program);
  addDatasets(program);
  addWebhooks(program);
  addDefinitions(program);
  addValidate(program);
  addAudit(program);
  addRetention(program);
  addConfig(program);
  addDoctor(program);
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
