import type { Command } from 'commander';

import { loadConfig } from '../../config.ts';
import { expireNow } from '../../main.ts';
import { findServiceUrl } from '../database.ts';
import { print, printJson, printTable } from '../output.ts';

export function addRetention(program: Command): void {
  program
    .command('retention')
    .description('Take away what agencies need not keep any more (platform operator).')
    .command('run')
    .description('One round now, over every agency; the workers do the same each hour. Says what went.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const config = loadConfig();
      const expired = await expireNow(config, await findServiceUrl(config, 'worker'));
      if (json) return printJson(expired);
      if (expired.length === 0) return print('Nothing has expired.');
      printTable(
        ['agency', 'runs', 'events', 'checkpoints', 'rejected', 'audit entries', 'objects'],
        expired.map((one) => [
          one.agency,
          ...[one.runs, one.events, one.checkpoints, one.rejectedRecords, one.auditEntries, one.objects].map(String),
        ]),
      );
    });
}
