import { databaseSource } from '../src/audit/database-source.ts';
import { proofsOver } from '../src/audit/proofs.ts';
import { readNote } from '../src/audit/signed-note.ts';
import { type Problem, type Verification } from '../src/audit/verify.ts';
import { verifyAll } from '../src/audit/verify-all.ts';
import {
  findSealedEntry,
  listSealedEntries,
  type SealedBounds,
  sealedBounds,
  type SealedEntry,
  type SealedEntryFilter,
} from '../src/db/audit-entries.ts';
import { listAuditCheckpoints, readTile } from '../src/db/audit-log-read.ts';
import type { Connection } from '../src/db/pool.ts';
import { followAudit } from '../src/domain/follow-audit.ts';
import { FluxError } from '../src/errors.ts';
import { decodeCursor, encodeCursor } from '../src/events/cursor.ts';
import { type Context, read, viewerOf } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { type Streamed, withFailureInBatches } from './stream.ts';

export type { SealedEntry } from '../src/db/audit-entries.ts';
export { itemOf } from './stream.ts';

const kind = 'audit';

/**
 * A page with no entry up to the log's end, which may be empty, ends there: a place to go on from is always told.
 *
 * @throws INVALID_INPUT, LIMIT_EXCEEDED, CURSOR_EXPIRED
 */
export async function auditEntries(
  ctx: Context,
  { filter, ...args }: PageArgs & { filter?: SealedEntryFilter | null | undefined },
): Promise<Page<SealedEntry>> {
  let lastSeq = 0n;
  const page = await pageOf(ctx, kind, args, {
    read: (position, limit, backward) =>
      read(ctx, async (tx) => {
        const afterSeq = position?.[0] === undefined ? null : BigInt(position[0]);
        // Read before the entries: what is sealed between the two stands behind the end that is told.
        const bounds = await sealedBounds(tx);
        if (!backward) requireKept(bounds, afterSeq);
        lastSeq = bounds.lastSeq;
        return listSealedEntries(tx, { afterSeq, limit, backward, ...(filter ? { filter } : {}) });
      }),
    positionOf: ({ seq }) => [String(seq)],
  });
  if (args.before === null || args.before === undefined) page.pageInfo.endCursor ??= cursorOf(ctx, { seq: lastSeq });
  return page;
}

export async function auditEntryById(ctx: Context, id: string): Promise<SealedEntry | null> {
  return /^[1-9]\d{0,17}$/.test(id) ? read(ctx, (tx) => findSealedEntry(tx, BigInt(id))) : null;
}

/** Where `auditEntries` and `auditEntryAdded` go on after this entry. */
export function cursorOf(ctx: Context, { seq }: Pick<SealedEntry, 'seq'>): string {
  return encodeCursor(ctx.api.cursorKey, { kind, agency: ctx.principal.agency }, [String(seq)]);
}

/** @throws INVALID_INPUT, CURSOR_EXPIRED before anything is streamed */
export async function auditEntryAdded(
  ctx: Context,
  { after }: { after?: string | null | undefined },
): Promise<AsyncIterableIterator<Streamed<SealedEntry>>> {
  const scope = { kind, agency: ctx.principal.agency };
  const afterSeq =
    after === null || after === undefined ? null : BigInt(decodeCursor(ctx.api.cursorKey, scope, after)[0] ?? 0);
  requireKept(await read(ctx, sealedBounds), afterSeq);
  const request = { sealed: () => ctx.sealed(), afterSeq, signal: ctx.signal, viewer: viewerOf(ctx) };
  return withFailureInBatches(followAudit(ctx.api, request));
}

/** @throws CURSOR_EXPIRED retention has removed entries after the position */
function requireKept({ prunedThrough: pruned }: SealedBounds, afterSeq: bigint | null): void {
  if (afterSeq === null || afterSeq >= pruned) return;
  throw new FluxError(
    'CURSOR_EXPIRED',
    `The cursor points after entry ${String(afterSeq)}, but retention has removed entries up to ${String(pruned)}. Begin again without a cursor.`,
    { details: { floor: String(pruned + 1n) } },
  );
}

/** A part of the entry that only its bytes hold. */
export function partOf({ body }: SealedEntry, name: string): unknown {
  return (JSON.parse(body.toString('utf8')) as Record<string, unknown>)[name] ?? null;
}

export function textOf(entry: SealedEntry, name: string): string | null {
  return partOf(entry, name) as string | null;
}

export interface AuditVerification {
  holds: boolean;
  entries: number;
  size: number;
  signedSize: number;
  root: string;
  checkpoint: string | null;
  firstBadSeq: number | null;
  problems: Problem[];
}

/** Hashes the caller's whole log anew, in one snapshot, and holds it against what is signed here and in the anchor. */
export async function verifyAuditLog(ctx: Context): Promise<AuditVerification> {
  const { audit } = ctx.api;
  if (!audit) {
    throw new FluxError('UNAVAILABLE', 'This API has no key to verify the audit log with. Set FLUX_AUDIT_PUBLIC_KEY.');
  }
  const anchored = await audit.anchored();
  const keys = [audit.publicKey, ...(audit.earlierKeys ?? [])].map((publicKey) => ({ publicKey }));
  return ctx.readSnapshot(async (tx) => {
    const source = await databaseSource(tx, ctx.principal.agency);
    const { agencies } = await verifyAll(source, anchored, keys);
    const checkpoint = source.logs[0]?.notes.at(-1) ?? null;
    return verdictOf(agencies[0], checkpoint);
  });
}

function verdictOf(found: Verification | undefined, checkpoint: string | null): AuditVerification {
  const { entries = 0, size = 0, signedSize = 0, root = '', problems = [] } = found ?? {};
  const firstBadSeq = problems[0]?.seq ?? null;
  return { holds: problems.length === 0, entries, size, signedSize, root, checkpoint, firstBadSeq, problems };
}

export interface AuditProof {
  from: number;
  size: number;
  leafHash: string | null;
  hashes: string[];
  /** The signed note of `size`, where one was signed of exactly that size. */
  checkpoint: string | null;
}

/** @throws INVALID_INPUT the tree is not that large, or no checkpoint stands */
export function inclusionProof(
  ctx: Context,
  { seq, size: asked }: { seq: bigint; size?: bigint | null | undefined },
): Promise<AuditProof> {
  return read(ctx, async (tx) => {
    const { size, checkpoint, proofs, tile } = await treeOf(ctx, tx, asked);
    const from = Number(seq);
    if (from < 1 || from > size) throw beyond(`Entry ${String(seq)}`, size);
    const leaf = (await tile(0, Math.floor((from - 1) / 256)))?.subarray(((from - 1) % 256) * 32).subarray(0, 32);
    const hashes = await proofs.inclusion(from - 1, size);
    return { from, size, leafHash: leaf?.toString('base64') ?? null, hashes: hashes.map(base64), checkpoint };
  });
}

/** @throws INVALID_INPUT the tree is not that large, or no checkpoint stands */
export function consistencyProof(
  ctx: Context,
  { from: first, to }: { from: bigint; to?: bigint | null | undefined },
): Promise<AuditProof> {
  return read(ctx, async (tx) => {
    const { size, checkpoint, proofs } = await treeOf(ctx, tx, to);
    const from = Number(first);
    if (from < 1 || from > size) throw beyond(`A tree of ${String(first)} entries`, size);
    const hashes = await proofs.consistency(from, size);
    return { from, size, leafHash: null, hashes: hashes.map(base64), checkpoint };
  });
}

/** The caller's tree at a size: the newest that is signed, unless another is asked for. */
async function treeOf({ principal: { agency } }: Context, tx: Connection, asked: bigint | null | undefined) {
  const notes = (await listAuditCheckpoints(tx)).filter((one) => one.agency === agency);
  const newest = Number(notes.at(-1)?.size ?? 0);
  const size = asked === null || asked === undefined ? newest : Number(asked);
  if (size < 1 || size > newest) throw beyond(`A tree of ${String(size)} entries`, newest);
  const tile = (level: number, tileNo: number): Promise<Buffer | undefined> => readTile(tx, { agency, level, tileNo });
  const checkpoint = notes.find(({ note }) => readNote(note)?.size === size)?.note ?? null;
  return { size, checkpoint, proofs: proofsOver(tile), tile };
}

function base64(hash: Buffer): string {
  return hash.toString('base64');
}

function beyond(what: string, size: number): FluxError {
  return new FluxError('INVALID_INPUT', `${what} is not in the signed log, which has ${String(size)} entries now.`);
}
