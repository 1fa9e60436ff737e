import { growTrees, sealEntries, signTrees, takeInbox, type GrownTile } from '../db/audit-sealing.ts';
import type { Queryable } from '../db/pool.ts';
import { CompactRange } from './compact-range.ts';
import type { Ledger, Tree } from './ledger.ts';
import { hashLeaf } from './merkle.ts';
import { tileWidth } from './proofs.ts';
import { originOf } from './signed-note.ts';

/** A tree that has grown is signed at most this often. */
const signEveryMs = 1_000;

/**
 * Numbers, hashes and stores the oldest entries of the inbox. The ledger moves on before the transaction commits: a caller
 * whose transaction fails must load a new one.
 *
 * @returns how many
 */
export async function sealBatch(tx: Queryable, epoch: bigint, ledger: Ledger, limit: number): Promise<number> {
  const waiting = await takeInbox(tx, limit, [...ledger.refused]);
  if (waiting.length === 0) return 0;
  const sealed: { agency: string; entryId: string; seq: number; leaf: Buffer }[] = [];
  const grown = [];
  const tiles: GrownTile[] = [];
  for (const [agency, entries] of Map.groupBy(waiting, (entry) => entry.agency)) {
    const tree = treeOf(ledger, agency);
    const [from, before] = [tree.range.size, tree.range.peaks().toString('hex')];
    const added = new Map<string, { level: number; tile: number; hashes: Buffer[] }>();
    const place = (level: number, index: number, hash: Buffer): void => {
      const tile = Math.floor(index / tileWidth);
      const key = `${String(level)}/${String(tile)}`;
      const known = added.get(key) ?? { level, tile, hashes: [] };
      added.set(key, known);
      known.hashes.push(hash);
    };
    for (const { entryId, body } of entries) {
      const leaf = hashLeaf(body);
      place(0, tree.range.size, leaf);
      tree.range.append(leaf, place);
      sealed.push({ agency, entryId, seq: tree.range.size, leaf });
    }
    grown.push({ agency, from, before, to: tree.range.size, peaks: tree.range.peaks().toString('hex') });
    for (const { level, tile, hashes } of added.values()) {
      tiles.push({ agency, level, tile, hashes: Buffer.concat(hashes).toString('hex') });
    }
  }
  await sealEntries(tx, epoch, sealed);
  await growTrees(tx, epoch, grown, tiles);
  return waiting.length;
}

/**
 * Signs the trees that have grown and were not signed for a second, and the log of logs with them.
 *
 * @param all signs every tree that has grown
 * @returns the notes, the log of logs' last, for the anchor once the transaction has committed
 */
export async function signDue(tx: Queryable, epoch: bigint, ledger: Ledger, all: boolean): Promise<string[]> {
  const now = Date.now();
  const due = [...ledger.trees].filter(
    ([, { range, signedSize, signedAt }]) => range.size > signedSize && (all || now - signedAt >= signEveryMs),
  );
  if (due.length === 0) return [];
  const at = new Date(now).toISOString();
  const checkpoints = due.map(([agency, { range }]) => {
    const [size, root] = [range.size, range.root()];
    const note = ledger.signer.sign({ origin: originOf(ledger.installation, agency), size, root, at });
    return { agency, size, root: root.toString('hex'), note };
  });
  const from = ledger.logOfLogs.size;
  for (const { note } of checkpoints) ledger.logOfLogs.append(hashLeaf(Buffer.from(note)));
  const whole = ledger.signer.sign({
    origin: originOf(ledger.installation, null),
    size: ledger.logOfLogs.size,
    root: ledger.logOfLogs.root(),
    at,
  });
  await signTrees(tx, epoch, checkpoints, { from, peaks: ledger.logOfLogs.peaks(), note: whole });
  for (const [, tree] of due) {
    tree.signedSize = tree.range.size;
    tree.signedAt = now;
  }
  return [...checkpoints.map(({ note }) => note), whole];
}

function treeOf({ trees }: Ledger, agency: string): Tree {
  const tree = trees.get(agency) ?? { range: new CompactRange(), signedSize: 0, signedAt: 0 };
  trees.set(agency, tree);
  return tree;
}
