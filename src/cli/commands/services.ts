import type { Command } from 'commander';

import { loadConfig } from '../../config.ts';
import { startApi, startSealerService, startWorkerService } from '../../main.ts';
import { runService } from '../../supervisor/child-side.ts';
import { findServiceUrl } from '../database.ts';

export function addServices(program: Command): void {
  program
    .command('serve')
    .description('Run the API alone, in this process, until SIGTERM. Any number may share one database.')
    .action(async () => {
      const config = loadConfig();
      await runService(async () => startApi(config, await findServiceUrl(config, 'api')));
    });
  program
    .command('worker')
    .description('Run one worker, in this process, until SIGTERM: it commits its batch and gives its lease back first.')
    .action(async () => {
      const config = loadConfig();
      await runService(async () => startWorkerService(config, await findServiceUrl(config, 'worker')));
    });
  program
    .command('sealer')
    .description('Run one sealer of the audit log, in this process, until SIGTERM. Of several, one works.')
    .action(async () => {
      const config = loadConfig();
      await runService(async () => startSealerService(config, await findServiceUrl(config, 'sealer')));
    });
}
