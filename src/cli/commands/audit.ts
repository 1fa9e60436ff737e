import { type Command, InvalidArgumentError } from 'commander';

import { anchorFile } from '../../audit/anchor.ts';
import { databaseSource } from '../../audit/database-source.ts';
import { exportAudit, openExport } from '../../audit/export.ts';
import { proofsOver } from '../../audit/proofs.ts';
import { publicKeyOf, type TrustedKey } from '../../audit/signed-note.ts';
import { verifyAll, type WholeVerification } from '../../audit/verify-all.ts';
import { type Config, loadConfig } from '../../config.ts';
import { parsePublicKey } from '../../config-keys.ts';
import { readAsOwner } from '../../db/audit-log-read.ts';
import { connectAdmin } from '../../db/connect-admin.ts';
import { installedRoles } from '../../db/installation.ts';
import type { Connection } from '../../db/pool.ts';
import { inTransaction } from '../../db/transaction.ts';
import { FluxError } from '../../errors.ts';
import { recordLogReading } from '../../domain/record-log-reading.ts';
import { findAdminUrl } from '../database.ts';
import { operatorName } from '../operator.ts';
import { print, printJson } from '../output.ts';

interface VerifyOptions {
  agency?: string;
  offline?: string;
  anchor?: string;
  key?: Buffer[];
  json?: boolean;
}

export function addAudit(program: Command): void {
  const audit = program.command('audit').description('Prove that the audit log is whole (platform operator).');
  audit
    .command('verify')
    .description(
      'Hash the log anew and hold it against every signed checkpoint; exit code 1 names the first bad entry.',
    )
    .option('--agency <slug>', 'one agency only; the log of logs is then left out')
    .option('--offline <folder>', 'an export instead of the database')
    .option('--anchor <file>', 'the checkpoints kept outside the database (FLUX_AUDIT_ANCHOR)')
    .option(
      '--key <key...>',
      'public keys to trust instead of those of FLUX_AUDIT_KEY and FLUX_AUDIT_PUBLIC_KEY',
      publicKey,
    )
    .option('--json', 'print JSON')
    .action((options: VerifyOptions) => verify(loadConfig(), options));
  audit
    .command('key')
    .description('Print the public key of FLUX_AUDIT_KEY, for auditors and for the API (FLUX_AUDIT_PUBLIC_KEY).')
    .option('--all', 'also those of FLUX_AUDIT_PUBLIC_KEY, with which the log was signed before')
    .action(({ all }: { all?: boolean }) => {
      const config = loadConfig();
      const keys = all ? ownKeys(config) : [publicKeyOf(config.auditKey, config.auditAlgorithm)];
      for (const key of new Set(keys.map((one) => one.toString('hex')))) print(key);
    });
  audit
    .command('export')
    .description('Write the signed part of the log to a new folder, verifiable without the database.')
    .argument('<folder>')
    .option('--agency <slug>', 'one agency only')
    .option('--json', 'print JSON')
    .action(async (folder: string, { agency, json }: { agency?: string; json?: boolean }) => {
      const config = loadConfig();
      const { agencies } = await withLog(config, (tx) => exportAudit(tx, folder, agency));
      await recordReading(
        config,
        'audit.export',
        agencies.map((one) => one.agency),
      );
      if (json) printJson({ folder, agencies });
      else for (const one of agencies) print(`${one.agency}: ${String(one.size)} entries`);
    });
  audit
    .command('prove')
    .description('Print the proof that an entry is in the newest signed tree of its agency.')
    .argument('<seq>', 'the entry’s number', wholeNumber)
    .requiredOption('--agency <slug>', 'whose log')
    .action(async (seq: number, { agency }: { agency: string }) => {
      const config = loadConfig();
      const proof = await withLog(config, (tx) => prove(tx, agency, seq));
      await recordReading(config, 'audit.prove', [agency], { seq });
      printJson(proof);
    });
}

async function verify(config: Config, options: VerifyOptions): Promise<void> {
  const keys: TrustedKey[] = (options.key ?? ownKeys(config)).map((publicKey) => ({ publicKey }));
  const anchored = await anchorFile(options.anchor ?? config.auditAnchor).read();
  const { offline, agency } = options;
  const result =
    offline === undefined
      ? await withLog(config, async (tx) => verifyAll(await databaseSource(tx, agency), anchored, keys))
      : await verifyAll(await openExport(offline, agency), anchored, keys);
  if (offline === undefined) {
    const read = result.agencies.map((one) => one.agency);
    await recordReading(config, 'audit.verify', read, { holds: result.holds });
  }
  if (agency !== undefined && result.agencies.length === 0) {
    result.holds = false;
    result.problems.push(`There is no log of ${agency}.`);
  }
  if (options.json) printJson(result);
  else report(result);
  process.exitCode = result.holds ? 0 : 1;
}

/** A log may have been signed with several. In production the signing key is the sealer's alone, and need not be here. */
function ownKeys(config: Config): Buffer[] {
  const { environment, auditPublicKeys: given, auditAlgorithm } = config;
  if (environment === 'production' && given.length > 0) return [...given];
  return [publicKeyOf(config.auditKey, auditAlgorithm), ...given];
}

function report({ holds, agencies, problems }: WholeVerification): void {
  for (const { agency, entries, signedSize, problems: wrong } of agencies) {
    const first = wrong[0];
    if (!first) print(`${agency}: ${String(entries)} entries hold, ${String(signedSize)} signed`);
    else {
      const last = first.throughSeq > first.seq ? ` to ${String(first.throughSeq)}` : '';
      print(`${agency}: BROKEN at ${String(first.seq)}${last}: ${first.what}`);
    }
  }
  for (const problem of problems) print(problem);
  print(holds ? 'The audit log holds.' : 'The audit log does NOT hold.');
}

async function prove(tx: Connection, agency: string, seq: number): Promise<object> {
  const [log] = (await databaseSource(tx, agency)).logs;
  const checkpoint = log?.notes.at(-1);
  const size = Number(checkpoint?.split('\n')[1] ?? 0);
  if (!log || checkpoint === undefined || seq > size) {
    throw new FluxError(
      'NOT_FOUND',
      `No checkpoint of ${agency} covers entry ${String(seq)}; ${String(size)} are signed.`,
    );
  }
  const hashes = await proofsOver(log.readTile).inclusion(seq - 1, size);
  const leaf = (await log.readTile(0, Math.floor((seq - 1) / 256)))?.subarray(((seq - 1) % 256) * 32).subarray(0, 32);
  const base64 = (hash: Buffer): string => hash.toString('base64');
  return { agency, seq, size, leafHash: base64(leaf ?? Buffer.alloc(0)), hashes: hashes.map(base64), checkpoint };
}

/** Whoever reads a log leaves an entry in it. */
async function recordReading(
  config: Config,
  action: string,
  agencies: readonly string[],
  after?: object,
): Promise<void> {
  const adminUrl = await findAdminUrl(config);
  const actor = operatorName();
  await recordLogReading({ adminUrl, contextKey: config.contextKey, actor }, agencies, {
    action,
    ...(after ? { after } : {}),
  });
}

async function withLog<T>(config: Config, work: (tx: Connection) => Promise<T>): Promise<T> {
  const adminUrl = await findAdminUrl(config);
  const { owner } = await installedRoles(adminUrl);
  const admin = await connectAdmin(adminUrl, 'flux audit');
  try {
    return await inTransaction(admin, async (tx) => {
      await readAsOwner(tx, owner);
      return work(tx);
    });
  } finally {
    await admin.end();
  }
}

function publicKey(text: string, others: Buffer[] = []): Buffer[] {
  const key = parsePublicKey(text);
  if (!key) {
    throw new InvalidArgumentError(
      'It should be a key of Ed25519 (32 bytes) or P-256 (SubjectPublicKeyInfo), in hex or base64.',
    );
  }
  return [...others, key];
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,15}$/.test(text)) throw new InvalidArgumentError('It should be a number from 1.');
  return Number(text);
}
