import type { Command } from 'commander';

import { loadConfig, requireIssuers } from '../../config.ts';
import { print, printJson } from '../output.ts';

export function addConfig(program: Command): void {
  program
    .command('config')
    .description('The configuration.')
    .command('check')
    .description('Read the environment as flux up would and say every problem; secrets are not shown.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => {
      const config = loadConfig();
      requireIssuers(config);
      const shown = {
        environment: config.environment,
        database:
          config.databaseUrl === undefined ? `embedded, in ${config.home}` : withoutPassword(config.databaseUrl),
        home: config.home,
        api: `${config.host}:${String(config.port)}`,
        workers: config.workers,
        issuers: config.issuers.map(({ issuer, agencies }) => ({ issuer, agencies })),
        objectStore: config.objectStoreBucket
          ? `s3://${config.objectStoreBucket.bucket}/${config.objectStoreBucket.prefix}, copies in ${config.objectStoreFolder}`
          : config.objectStoreFolder,
        sourceRoots: config.sourceRoots,
        logLevel: config.logLevel,
        keys: config.contextKey.length === 32 && config.dataKey.length === 32 ? 'present' : 'missing',
        warnings: config.warnings,
      };
      if (json) return printJson(shown);
      for (const [name, value] of Object.entries(shown)) {
        print(`${name.padEnd(12)} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
      }
      print('The configuration is valid.');
    });
}

function withoutPassword(url: string): string {
  const shown = new URL(url);
  if (shown.password) shown.password = '***';
  return shown.href;
}
