import { type Command, InvalidArgumentError } from 'commander';

import { loadConfig } from '../../config.ts';
import {
  addIssuer,
  type IssuerRow,
  listIssuers,
  type ManageIssuers,
  removeIssuer,
} from '../../domain/manage-issuers.ts';
import { FluxError } from '../../errors.ts';
import { findAdminUrl } from '../database.ts';
import { operatorName } from '../operator.ts';
import { print, printJson, printTable } from '../output.ts';
import { readDocument } from '../read-document.ts';

interface AddOptions {
  jwksUri?: string;
  jwks?: string;
  agencies: string[];
  audience?: string;
  json?: boolean;
}

export function addIssuers(program: Command): void {
  const issuers = program
    .command('issuers')
    .description(
      'Trusted issuers of tokens, as the platform operator manages them (with DATABASE_URL, or on what runs on FLUX_HOME). They count beside those of FLUX_ISSUERS, and changes within seconds, without a restart.',
    );
  issuers
    .command('add')
    .description('Trust an issuer for agencies; for one that trusts it already, write its keys and audience anew.')
    .argument('<issuer>', 'exactly the `iss` of its tokens')
    .option('--jwks-uri <url>', 'where its key set is; https outside development')
    .option('--jwks <file>', 'or a file with the key set, - for standard input')
    .requiredOption('--agencies <slugs>', 'the agencies that it may speak for, separated by commas', slugs)
    .option('--audience <audience>', 'the `aud` of its tokens; FLUX_AUDIENCE if absent')
    .option('--json', 'print JSON')
    .action(async (issuer: string, { jwksUri = null, jwks, agencies, audience = null, json }: WithDefaults) => {
      const keys = jwks === undefined ? null : keySetOf(await readDocument(jwks));
      const rows = await addIssuer(await managing(), { issuer, jwksUri, jwks: keys, audience, agencies });
      if (json) printJson(rows.map(toPrinted));
      else print(`${issuer} speaks for ${rows.map(({ agency }) => agency).join(', ')}.`);
    });
  issuers
    .command('remove')
    .description('Trust an issuer no more. What is open under its tokens ends within seconds.')
    .argument('<issuer>', 'exactly the `iss` of its tokens')
    .option('--agencies <slugs>', 'only for these agencies, separated by commas', slugs)
    .option('--json', 'print JSON')
    .action(async (issuer: string, { agencies, json }: { agencies?: string[]; json?: boolean }) => {
      const removed = await removeIssuer(await managing(), { issuer, agencies: agencies ?? null });
      if (json) printJson({ issuer, agencies: removed });
      else print(`${issuer} speaks for ${removed.join(', ')} no more.`);
    });
  issuers
    .command('list')
    .description('List every registered issuer with every agency that it may speak for.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const rows = (await listIssuers(await findAdminUrl(loadConfig()))).map(toPrinted);
      if (json) return printJson(rows);
      if (rows.length === 0) return print('No issuer is registered. Those of FLUX_ISSUERS are not listed here.');
      printTable(
        ['issuer', 'agency', 'audience', 'keys'],
        rows.map((row) => [row.issuer, row.agency, row.audience ?? '-', row.jwksUri ?? `${String(row.keys)} given`]),
      );
    });
}

type WithDefaults = Omit<AddOptions, 'jwksUri' | 'audience'> & { jwksUri?: string | null; audience?: string | null };

async function managing(): Promise<ManageIssuers> {
  const config = loadConfig();
  return {
    adminUrl: await findAdminUrl(config),
    contextKey: config.contextKey,
    environment: config.environment,
    actor: operatorName(),
  };
}

function toPrinted({ jwks, ...row }: IssuerRow) {
  return { ...row, keys: jwks === null ? null : jwks.keys.length };
}

/** @throws INVALID_INPUT the file holds no key set */
function keySetOf(document: unknown): { keys: Record<string, unknown>[] } {
  const keys = (document as { keys?: unknown } | null)?.keys;
  if (Array.isArray(keys)) return { keys: keys as Record<string, unknown>[] };
  throw new FluxError('INVALID_INPUT', 'The file should hold a key set (RFC 7517): {"keys": […]}.');
}

function slugs(text: string): string[] {
  const all = text.split(',').map((one) => one.trim());
  if (all.every((one) => /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/.test(one))) return [...new Set(all)];
  throw new InvalidArgumentError('They should be agency slugs, separated by commas.');
}
