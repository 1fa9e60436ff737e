import type { Command } from 'commander';

import { loadConfig } from '../../config.ts';
import { migrate } from '../../db/migrate.ts';
import { ensureKeys } from '../../domain/manage-keys.ts';
import { findAdminUrl } from '../database.ts';
import { keyOperator } from './keys.ts';
import { print, printJson } from '../output.ts';

export function addMigrate(program: Command): void {
  program
    .command('migrate')
    .description(
      'Bring the database (DATABASE_URL, or what runs on FLUX_HOME) to this version. Safe to run twice or at once.',
    )
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const config = loadConfig();
      const adminUrl = await findAdminUrl(config);
      const { applied } = await migrate(adminUrl, { contextKey: config.contextKey });
      await ensureKeys(keyOperator(config, adminUrl));
      if (json) printJson({ applied });
      else
        print(
          applied.length === 0 ? 'Nothing to do: the database is at this version.' : `Applied ${applied.join(', ')}.`,
        );
    });
}
