import { type Command, InvalidArgumentError } from 'commander';

import { classifications } from '../../auth/principal.ts';
import { loadConfig } from '../../config.ts';
import { validateAgencyManifest } from '../../contracts/documents.ts';
import {
  addAgency,
  listAgencies,
  type ProvisionedAgency,
  type Provisioning,
  removeAgency,
  type Share,
  shareWorkers,
  updateAgency,
} from '../../domain/provision-agency.ts';
import { type OffBoarded, offBoardAgency } from '../../domain/off-board-agency.ts';
import { chooseKeyEncryption } from '../../keys/choose-key-encryption.ts';
import { agencyObjects } from '../../objects/agency-objects.ts';
import { openObjectStore } from '../../objects/open-object-store.ts';
import { findAdminUrl } from '../database.ts';
import { operatorName } from '../operator.ts';
import { print, printJson, printTable } from '../output.ts';
import { readDocument } from '../read-document.ts';
import { keyOperator } from './keys.ts';

interface ManifestOptions {
  retentionFloor?: number;
  weight?: number;
  cap?: number | null;
  json?: boolean;
}

export function addAgencies(program: Command): void {
  const agencies = program
    .command('agencies')
    .description('Agencies, as the platform operator manages them (with DATABASE_URL, or on what runs on FLUX_HOME).');
  manifestCommand(
    agencies,
    'add',
    'Add agencies from their manifests; one that was removed is opened again.',
    addAgency,
    'added',
  );
  manifestCommand(agencies, 'update', 'Write manifests over the present ones.', updateAgency, 'updated');
  withShare(agencies.command('share'))
    .description('Set an agency’s share of the workers, without its manifest.')
    .argument('<slug>', 'which agency')
    .option('--json', 'print JSON')
    .action(async (slug: string, options: ManifestOptions, command: Command) => {
      if (options.weight === undefined && options.cap === undefined)
        command.error('error: say --weight, --cap or both');
      const agency = await shareWorkers(await provisioning(options), slug);
      if (options.json) printJson(toPrinted(agency));
      else print(`${agency.slug}: weight ${String(agency.shareWeight)}, ${capOf(agency)}.`);
    });
  agencies
    .command('close')
    .description('Close an agency: nobody can log in or run anything as it. Its data and its evidence stay.')
    .argument('<slug>', 'which agency')
    .option('--json', 'print JSON')
    .action(async (slug: string, { json }: { json?: boolean }) => {
      const agency = await removeAgency(await provisioning({}), slug);
      if (json) printJson(toPrinted(agency));
      else print(`${agency.slug} closed. Its data stay; flux agencies add opens it again.`);
    });
  agencies
    .command('remove')
    .description(
      'Remove an agency for good: destroys its keys, drops its lake and logins, removes its objects. Its audit log stays.',
    )
    .argument('<slug>', 'which agency')
    .requiredOption('--reason <text>', 'why, for its audit log')
    .requiredOption('--confirm <slug>', 'the slug once more: this cannot be undone')
    .option('--json', 'print JSON')
    .action(async (slug: string, { reason, confirm, json }: RemoveOptions, command: Command) => {
      if (confirm !== slug) command.error(`error: --confirm names ${confirm}, the agency is ${slug}`);
      const config = loadConfig();
      const done = await offBoardAgency(
        keyOperator(config, await findAdminUrl(config)),
        agencyObjects(await openObjectStore(config)),
        { agency: slug, reason },
      );
      if (json) printJson(done);
      else printRemoved(done);
    });
  agencies
    .command('list')
    .description('List every agency.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const all = (await listAgencies(await findAdminUrl(loadConfig()))).map(toPrinted);
      if (json) return printJson(all);
      if (all.length === 0) return print('There are no agencies yet. Add one with flux agencies add MANIFEST.');
      printTable(
        ['agency', 'status', 'classification', 'retention', 'weight', 'cap', 'name'],
        all.map((a) => [
          a.slug,
          a.status,
          a.dataClassification,
          a.retentionDays === 0 ? 'for ever' : `${String(a.retentionDays)} days`,
          String(a.shareWeight),
          a.executingCap === null ? 'none' : String(a.executingCap),
          a.name,
        ]),
      );
    });
}

interface RemoveOptions {
  reason: string;
  confirm: string;
  json?: boolean;
}

function printRemoved({
  agency,
  keysDestroyed,
  lakeTablesDropped,
  rolesDropped,
  objects,
  rows,
  residue,
}: OffBoarded): void {
  print(`${agency} removed.`);
  print(`  data keys destroyed   ${String(keysDestroyed)}`);
  print(`  lake tables dropped   ${String(lakeTablesDropped)}, logins ${String(rolesDropped)}`);
  print(
    `  objects               ${String(objects.found)} tried: ${String(objects.unreadable)} unreadable, ${String(objects.plain)} plain; all removed`,
  );
  print(
    `  sealed rows           ${String(rows.sealedPayloads)} payloads, ${String(rows.sealedRecords)} records; ${rows.tried === 0 ? 'none to try' : `${String(rows.tried)} tried: unreadable`}; plain content taken out of ${String(rows.plainRemoved)} rows`,
  );
  print(`  webhooks removed      ${String(rows.webhooksRemoved)}, with what was to be delivered`);
  print('What stays:');
  for (const line of residue) print(`  - ${line}`);
}

function manifestCommand(
  parent: Command,
  name: string,
  description: string,
  work: (deps: Provisioning, document: unknown) => Promise<ProvisionedAgency>,
  done: string,
): void {
  withShare(parent.command(name))
    .description(description)
    .argument('<manifest...>', 'files that meet agency-manifest.schema.json, or - for standard input')
    .option('--retention-floor <days>', 'days below which the agency’s own admin may not go', days)
    .option('--json', 'print JSON')
    .action(async (files: string[], options: ManifestOptions) => {
      const { json } = options;
      const deps = await provisioning(options);
      const documents = await Promise.all(files.map(readDocument));
      // One bad manifest of many stops all of them, before the first is written.
      documents.forEach((document) => validateAgencyManifest(document));
      const results: ProvisionedAgency[] = [];
      for (const document of documents) {
        const agency = await work(deps, document);
        results.push(agency);
        if (!json) print(`${agency.slug} ${done}: ${agency.name}`);
      }
      if (json) printJson(results.map(toPrinted));
    });
}

function withShare(command: Command): Command {
  return command
    .option('--weight <number>', 'quanta for one of an agency of weight 1, 1 to 100', weight)
    .option('--cap <number>', 'most partitions at work at once, or none', cap);
}

async function provisioning({ retentionFloor, ...asked }: ManifestOptions): Promise<Provisioning> {
  const config = loadConfig();
  const share: Partial<Share> = {
    ...(asked.weight === undefined ? {} : { shareWeight: asked.weight }),
    ...(asked.cap === undefined ? {} : { executingCap: asked.cap }),
  };
  return {
    adminUrl: await findAdminUrl(config),
    contextKey: config.contextKey,
    actor: operatorName(),
    encryption: chooseKeyEncryption(config),
    ...(retentionFloor === undefined ? {} : { retentionFloorDays: retentionFloor }),
    share,
  };
}

function toPrinted({ open, dataClassification, ...agency }: ProvisionedAgency) {
  const status = !open ? 'removed' : agency.enabled ? 'enabled' : 'disabled';
  return { ...agency, dataClassification: classifications[dataClassification] ?? 'U', status };
}

function capOf({ executingCap }: ProvisionedAgency): string {
  return executingCap === null ? 'no cap' : `at most ${String(executingCap)} partitions at work`;
}

function weight(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 100) return value;
  throw new InvalidArgumentError('It should be 1 to 100.');
}

function cap(text: string): number | null {
  if (text === 'none') return null;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 10_000) return value;
  throw new InvalidArgumentError('It should be 1 to 10000, or none.');
}

function days(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value <= 36_500) return value;
  throw new InvalidArgumentError('It should be 0 to 36500.');
}
