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
import { type Reencrypted, reencryptAgency } from '../../domain/reencrypt-agency.ts';
import { retireKeys } from '../../domain/retire-keys.ts';
import { chooseKeyEncryption } from '../../keys/choose-key-encryption.ts';
import { agencyObjects } from '../../objects/agency-objects.ts';
import { openObjectStore } from '../../objects/open-object-store.ts';
import { findAdminUrl } from '../database.ts';
import { operatorName } from '../operator.ts';
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
  addReencrypt(keys);
}

function addReencrypt(keys: Command): void {
  keys
    .command('reencrypt')
    .description(
      'Put everything that an agency’s older data keys have sealed under its newest ones, in bounded batches. Runs go on meanwhile; broken off, ask again.',
    )
    .argument('<agency>', 'which agency')
    .option('--json', 'print JSON')
    .action(async (agency: string, { json }: Output) => {
      const config = loadConfig();
      const objects = agencyObjects(await openObjectStore(config));
      const done = await reencryptAgency(keyOperator(config, await findAdminUrl(config)), objects, {
        agency,
        plain: config.encryption,
        dataKeys: [config.dataKey, ...config.dataKeysBefore],
      });
      if (json) printJson(done);
      else printReencrypted(done);
      if (!isEmpty(done.left) || done.unreadable.length > 0) process.exitCode = 1;
    });
  keys
    .command('retire')
    .description(
      'Destroy an agency’s data keys before the newest. Refused while anything is under them: flux keys reencrypt.',
    )
    .argument('<agency>', 'which agency')
    .requiredOption('--reason <text>', 'why, for its audit log')
    .option('--json', 'print JSON')
    .action(async (agency: string, { reason, json }: Output & { reason: string }) => {
      const done = await retireKeys(await operator(), agency, { reason });
      if (json) return printJson(done);
      if (done.versions.length === 0) return print(`${agency} has no data keys but the newest.`);
      for (const { purpose, version } of done.versions)
        print(`${agency}: version ${String(version)} of its ${purpose} key is destroyed.`);
    });
}

function printReencrypted({ agency, moved, left, unreadable }: Reencrypted): void {
  print(`${agency}: under the newest keys now ${told(moved)}.`);
  if (!isEmpty(left)) print(`Under older keys still: ${told(left)}. Run it again.`);
  for (const { what, code } of unreadable) print(`Not to be opened, and left as it is: ${what} (${code}).`);
}

function told({ objects, payloads, records, secrets }: Reencrypted['moved']): string {
  return `${String(objects)} objects, ${String(payloads)} payloads, ${String(records)} refused records, ${String(secrets)} secrets of webhooks and connections`;
}

function isEmpty(counts: Reencrypted['left']): boolean {
  return Object.values(counts).every((count) => count === 0);
}

/** The platform operator of this machine. */
export function keyOperator(config: Config, adminUrl: string): KeyOperator {
  return {
    adminUrl,
    contextKey: config.contextKey,
    actor: operatorName(),
    encryption: chooseKeyEncryption(config),
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
