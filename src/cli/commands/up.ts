import { type Command, InvalidArgumentError } from 'commander';

import { type Config, loadConfig } from '../../config.ts';
import { homePaths } from '../../home.ts';
import { type Stack, startStack } from '../../supervisor/stack.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { note, print } from '../output.ts';
import { stoppingText, stopSignal } from '../stop-signal.ts';

interface UpOptions {
  workers?: number;
  logs?: 'files' | 'inherit';
}

export function addUp(program: Command): void {
  program
    .command('up')
    .description(
      'Run everything: Postgres (unless DATABASE_URL is set), migrations, the API and the workers, until Ctrl-C.',
    )
    .option('--workers <count>', 'worker processes (FLUX_WORKERS)', count)
    .option('--logs <where>', 'files (in FLUX_HOME/logs) or inherit (this output); files on a terminal', logs)
    .action((options: UpOptions) => up(loadConfig(), options));
}

async function up(config: Config, options: UpOptions): Promise<void> {
  const where = options.logs ?? (process.stdout.isTTY ? 'files' : 'inherit');
  const logger = createLogger({ service: 'flux-supervisor', level: where === 'files' ? 'warn' : config.logLevel });
  const stop = stopSignal();
  let stack: Stack;
  try {
    stack = await startStack(config, { workers: options.workers ?? config.workers, logger, logs: where, signal: stop });
  } catch (cause) {
    if (stop.aborted) return;
    throw cause;
  }
  welcome(config, stack, where);
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
  note(stoppingText(config));
  await stack.stop();
  note('Stopped.');
}

function welcome(config: Config, stack: Stack, logs: 'files' | 'inherit'): void {
  const { host, pathname } = new URL(stack.adminUrl);
  const lines = [
    `Flux is up: ${String(stack.workers().length)} workers, Postgres at ${host}${pathname}`,
    `  Dashboard  ${stack.apiUrl}/`,
    `  API        ${stack.apiUrl}/v1/graphql`,
    ...(config.environment === 'development' ? [`  GraphiQL   ${stack.apiUrl}/graphiql`] : []),
    `  Health     ${stack.apiUrl}/health/ready`,
    ...(logs === 'files' ? [`  Logs       ${homePaths(config.home).logs}`] : []),
    ...(config.environment === 'development'
      ? ['  Token      flux token --agency <slug> --role operator --sub user@example.gov']
      : []),
    'Ctrl-C stops all of it.',
  ];
  print(lines.join('\n'));
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 64) throw new InvalidArgumentError('It should be 0 to 64.');
  return value;
}

function logs(text: string): 'files' | 'inherit' {
  if (text === 'files' || text === 'inherit') return text;
  throw new InvalidArgumentError('It should be files or inherit.');
}
