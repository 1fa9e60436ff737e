import { auditState, installationName, logOfLogsState, sealerTile, type SealerTree } from '../db/audit-sealing.ts';
import type { Queryable } from '../db/pool.ts';
import type { Anchor, AnchoredNote } from './anchor.ts';
import { CompactRange } from './compact-range.ts';
import { proofsOver } from './proofs.ts';
import { createSigner, openNote, originOf, type SignatureAlgorithm } from './signed-note.ts';

/** What a sealer that leads knows: every tree as it left it. A failed transaction makes it void. */
export interface Ledger {
  installation: string;
  signer: ReturnType<typeof createSigner>;
  trees: Map<string, Tree>;
  logOfLogs: CompactRange;
  /** Agencies whose tree contradicts what was signed. Nothing of theirs is sealed until somebody has looked. */
  refused: Set<string>;
}

export interface Tree {
  range: CompactRange;
  signedSize: number;
  /** Milliseconds of this process's clock. */
  signedAt: number;
}

interface LedgerDeps {
  auditKey: Buffer;
  auditAlgorithm?: SignatureAlgorithm;
  anchor: Anchor;
  log: { error(fields: object, message: string): void };
}

/**
 * Reads every tree and holds it against the anchor: a checkpoint that contradicts an earlier one is never signed. Checkpoints
 * that a crash kept from the anchor are written to it now.
 */
export async function loadLedger(
  db: Queryable,
  { auditKey, auditAlgorithm, anchor, log }: LedgerDeps,
): Promise<Ledger> {
  const ledger: Ledger = {
    installation: await installationName(db),
    signer: createSigner(auditKey, auditAlgorithm),
    trees: new Map(),
    logOfLogs: new CompactRange(),
    refused: new Set(),
  };
  const anchored = newestByOrigin(await anchor.read());
  const late: string[] = [];
  for (const stored of await auditState(db)) {
    const origin = originOf(ledger.installation, stored.agency);
    const problem = await contradiction(db, ledger, stored, anchored.get(origin));
    if (problem !== null) {
      ledger.refused.add(stored.agency);
      log.error({ agency: stored.agency, problem }, 'the audit log was tampered with; its agency is not sealed');
      continue;
    }
    const size = Number(stored.size);
    ledger.trees.set(stored.agency, {
      range: new CompactRange(size, stored.peaks),
      signedSize: Number(stored.signedSize ?? 0),
      signedAt: 0,
    });
    if (stored.note !== null && Number(stored.signedSize) > (anchored.get(origin)?.checkpoint.size ?? 0)) {
      late.push(stored.note);
    }
  }
  // An agency that the anchor knows and the database does not is gone, not new.
  for (const [origin, { checkpoint }] of anchored) {
    const agency = origin.split('/').at(-1) as string;
    if (origin !== originOf(ledger.installation, agency) || ledger.trees.has(agency)) continue;
    ledger.refused.add(agency);
    log.error({ agency, size: checkpoint.size }, 'an agency that was signed has no audit log any more');
  }
  const whole = await logOfLogsState(db);
  ledger.logOfLogs = new CompactRange(Number(whole.size), whole.peaks);
  const anchoredWhole = anchored.get(originOf(ledger.installation, null));
  if (whole.note !== null && Number(whole.size) > (anchoredWhole?.checkpoint.size ?? 0)) late.push(whole.note);
  await anchor.append(late);
  return ledger;
}

async function contradiction(
  db: Queryable,
  { signer, installation }: Ledger,
  { agency, size, peaks, note }: SealerTree,
  anchored: AnchoredNote | undefined,
): Promise<string | null> {
  const proofs = proofsOver((level, tileNo) => sealerTile(db, { agency, level, tileNo }));
  const rootAt = (at: number): Promise<Buffer | null> => proofs.rootAt(at).catch(() => null);
  if (!(await rootAt(Number(size)))?.equals(new CompactRange(Number(size), peaks).root())) {
    return 'the tiles are not those of the head';
  }
  for (const signed of [note, anchored?.note ?? null]) {
    if (signed === null) continue;
    const opened = openNote(signed, [{ publicKey: signer.publicKey }]);
    // A checkpoint of an earlier key was believed when it was signed; which keys are believed now is the verifier's to say.
    if ('problem' in opened && opened.checkpoint === null) return opened.problem;
    const { checkpoint } = opened as { checkpoint: { origin: string; size: number; root: Buffer } };
    if (checkpoint.origin !== originOf(installation, agency)) return 'a checkpoint of another log';
    if (checkpoint.size > Number(size))
      return `the log ends at ${String(size)}, signed were ${String(checkpoint.size)}`;
    if (!(await rootAt(checkpoint.size))?.equals(checkpoint.root)) {
      return `the root at ${String(checkpoint.size)} is not the one that was signed`;
    }
  }
  return null;
}

export function newestByOrigin(notes: readonly AnchoredNote[]): Map<string, AnchoredNote> {
  const newest = new Map<string, AnchoredNote>();
  for (const entry of notes) {
    const known = newest.get(entry.checkpoint.origin);
    if (!known || entry.checkpoint.size >= known.checkpoint.size) newest.set(entry.checkpoint.origin, entry);
  }
  return newest;
}
