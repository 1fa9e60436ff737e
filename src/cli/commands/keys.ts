import { userInfo } from 'node:os';

import type { Command } from 'commander';

import { type Config, loadConfig } from '../../config.ts';
import {
  ensureKeys,
  type KeyOperator,
  type KeyState,
  listKeys,
  rewrapKeys,
  rotateKeys,
} from '../../domain/manage-keys.ts';
import { localKeyEncryption } from '../../keys/key-encryption.ts';
import { findAdminUrl } from '../database.ts';
import { print, printJson, printTable } from '../output.ts';

interface Output {
  json?: boolean;
}

export function addKeys(program: Command): void {
  const keys = program
    .command('keys')
    .description(
      'Data keys of the agencies, as the platform operator manages them (with DATABASE_URL and FLUX_DATA_KEY).',
    );
  keys
    .command('list')
    .description('List every data key, without its bytes.')
    .option('--json', 'print JSON')
    .action(async ({ json }: Output) => show(await listKeys(await operator()), json));
  keys
    .command('ensure')
    .description('Give data keys to the agencies that have none.')
    .option('--json', 'print JSON')
    .action(async ({ json }: Output) => {
      const given = await ensureKeys(await operator());
      if (json) printJson({ agencies: given });
      else print(given.length === 0 ? 'Every agency has its data keys.' : `Data keys made for ${given.join(', ')}.`);
    });
  keys
    .command('rotate')
    .description('Make the next version of an agency’s data keys. What was sealed before stays readable.')
    .requiredOption('--agency <slug>', 'which agency')
    .option('--json', 'print JSON')
    .action(async ({ agency, json }: Output & { agency: string }) =>
      show(await rotateKeys(await operator(), agency), json),
    );
  keys
    .command('rewrap')
    .description('Wrap all data keys with the present FLUX_DATA_KEY; give the old one as FLUX_DATA_KEY_PREVIOUS.')
    .option('--json', 'print JSON')
    .action(async ({ json }: Output) => {
      const done = await rewrapKeys(await operator());
      if (json) return printJson({ agencies: done });
      if (done.length === 0) return print('Every data key is wrapped by the present key.');
      print(done.map(({ agency, rewrapped }) => `${agency}: ${String(rewrapped)} data keys wrapped anew.`).join('\n'));
    });
}

/** The platform operator of this machine. */
export function keyOperator(config: Config, adminUrl: string): KeyOperator {
  return {
    adminUrl,
    contextKey: config.contextKey,
    actor: `operator:${userInfo().username}`,
    encryption: localKeyEncryption(config.dataKey, config.dataKeysBefore),
  };
}

async function operator(): Promise<KeyOperator> {
  const config = loadConfig();
  return keyOperator(config, await findAdminUrl(config));
}

function show(states: readonly KeyState[], json: boolean | undefined): void {
  if (json) return printJson(states);
  if (states.length === 0) return print('There are no data keys. Make them with flux keys ensure.');
  printTable(
    ['agency', 'purpose', 'version', 'wrapped by', 'made', 'destroyed'],
    states.map(({ agency, purpose, version, kekId, createdAt, destroyedAt }) => [
      agency,
      purpose,
      String(version),
      kekId ?? '-',
      createdAt.toISOString(),
      destroyedAt?.toISOString() ?? '-',
    ]),
  );
}
