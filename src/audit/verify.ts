import { CompactRange } from './compact-range.ts';
import { hashByteCount } from './merkle.ts';
import { type ReadTile, tileWidth } from './proofs.ts';
import { openNote, type TrustedKey } from './signed-note.ts';

/** An entry as a source has it. Only what it finds wrong with it by itself is said in `problem`. */
export interface ReadEntry {
  seq: number;
  /** Hashed from the entry's bytes now. */
  leaf: Buffer;
  /** The leaf hash that stands beside the entry. */
  stored?: Buffer;
  problem?: string;
  /** For an `audit.prune` entry: up to where it says that entries were removed. */
  prunedThrough?: number;
}

/** One agency's log, out of the database or an export. */
export interface LogSource {
  agency: string;
  origin: string;
  size: number;
  peaks: Buffer;
  prunedThrough: number;
  entries(): AsyncIterable<readonly ReadEntry[]>;
  readTile: ReadTile;
  /** Signed heads of this log, from wherever the verifier knows them: the source, and the anchor. */
  notes: readonly string[];
}

export interface Problem {
  /** The first bad number, or the first of a range. */
  seq: number;
  throughSeq: number;
  what: string;
}

export interface Verification {
  agency: string;
  /** Entries whose bytes were hashed. */
  entries: number;
  /** What the newest believed checkpoint covers. */
  signedSize: number;
  size: number;
  root: string;
  /** The most exact first; empty when the log holds. */
  problems: Problem[];
}

/**
 * Hashes a whole log anew and holds it against its tiles, its head and every signed checkpoint that is known. Reading ends where
 * the numbers break, because nothing after can be placed.
 */
export async function verifyLog(source: LogSource, keys: readonly TrustedKey[]): Promise<Verification> {
  const problems: Problem[] = [];
  const signed = believed(source, keys, problems);
  const range = new CompactRange();
  const state: Walk = { source, range, signed, goodSize: 0, problems, prunes: new Set(), completed: [] };
  await restorePruned(state);
  let entries = 0;
  reading: for await (const batch of source.entries()) {
    for (const entry of batch) {
      const expected = range.size + 1;
      if (entry.seq !== expected) {
        problems.push(
          entry.seq > expected
            ? { seq: expected, throughSeq: entry.seq - 1, what: 'missing' }
            : { seq: entry.seq, throughSeq: entry.seq, what: 'the number is there twice' },
        );
        break reading;
      }
      checkEntry(entry, problems);
      await grow(state, entry.leaf);
      if (entry.prunedThrough !== undefined) state.prunes.add(entry.prunedThrough);
      entries += 1;
    }
  }
  checkEnd(state);
  // The narrowest that ends first comes first: a range that holds a named entry says less than the entry.
  problems.sort((a, b) => a.throughSeq - b.throughSeq || b.seq - a.seq);
  return {
    agency: source.agency,
    entries,
    size: range.size,
    signedSize: Math.max(0, ...signed.keys()),
    root: range.root().toString('base64'),
    problems,
  };
}

interface Walk {
  source: LogSource;
  range: CompactRange;
  /** Signed roots by size. */
  signed: Map<number, Buffer>;
  /** Up to here a signed root was met. */
  goodSize: number;
  problems: Problem[];
  prunes: Set<number>;
  completed: { level: number; index: number; hash: Buffer }[];
  tile?: { no: number; hashes: Buffer };
}

function believed({ origin, notes }: LogSource, keys: readonly TrustedKey[], problems: Problem[]): Map<number, Buffer> {
  const signed = new Map<number, Buffer>();
  for (const note of new Set(notes)) {
    const opened = openNote(note, keys);
    const size = opened.checkpoint?.size ?? 1;
    if ('problem' in opened) problems.push({ seq: size, throughSeq: size, what: opened.problem });
    else if (opened.checkpoint.origin !== origin) {
      problems.push({ seq: size, throughSeq: size, what: 'the checkpoint is of another log' });
    } else {
      const known = signed.get(size);
      if (known && !known.equals(opened.checkpoint.root)) {
        problems.push({ seq: 1, throughSeq: size, what: 'fork: two signed checkpoints of one size differ' });
      }
      signed.set(size, opened.checkpoint.root);
    }
  }
  return signed;
}

/** What retention removed is known by its leaf hashes. */
async function restorePruned(state: Walk): Promise<void> {
  const { prunedThrough } = state.source;
  while (state.range.size < prunedThrough) {
    const leaf = await storedLeaf(state, state.range.size);
    if (!leaf) {
      state.problems.push({
        seq: state.range.size + 1,
        throughSeq: prunedThrough,
        what: 'missing, and their leaf hashes too',
      });
      return;
    }
    await grow(state, leaf);
  }
}

function checkEntry({ seq, leaf, stored, problem }: ReadEntry, problems: Problem[]): void {
  const what = stored && !stored.equals(leaf) ? 'the entry does not match its leaf hash' : problem;
  if (what !== undefined) problems.push({ seq, throughSeq: seq, what });
}

async function grow(state: Walk, leaf: Buffer): Promise<void> {
  const { range, problems } = state;
  const index = range.size;
  const seq = index + 1;
  const told = storedLeafNow(state, index) ?? (await storedLeaf(state, index));
  if (!told?.equals(leaf)) {
    problems.push({
      seq,
      throughSeq: seq,
      what: told ? 'the leaf is not the one in the tree' : 'the tree has no leaf',
    });
  }
  range.append(leaf, (level, at, hash) => state.completed.push({ level, index: at, hash }));
  for (const { level, index: at, hash } of state.completed.splice(0)) {
    const tile = await state.source.readTile(level, Math.floor(at / tileWidth));
    if (!tile || !hashAt(tile, at % tileWidth).equals(hash)) {
      const width = tileWidth ** level;
      problems.push({ seq: at * width + 1, throughSeq: (at + 1) * width, what: `level ${String(level)} of the tree` });
    }
  }
  const root = state.signed.get(range.size);
  if (!root) return;
  if (!root.equals(range.root())) {
    problems.push({
      seq: state.goodSize + 1,
      throughSeq: range.size,
      what: 'the root is not the one that was signed; the change lies in this range',
    });
  }
  state.goodSize = range.size;
}

/** Without waiting, when the tile is at hand: 255 of 256 times. */
function storedLeafNow({ tile }: Walk, index: number): Buffer | undefined {
  return tile?.no === Math.floor(index / tileWidth) ? hashAt(tile.hashes, index % tileWidth) : undefined;
}

async function storedLeaf(state: Walk, index: number): Promise<Buffer | undefined> {
  const no = Math.floor(index / tileWidth);
  if (state.tile?.no !== no) {
    state.tile = { no, hashes: (await state.source.readTile(0, no)) ?? Buffer.alloc(0) };
  }
  const leaf = hashAt(state.tile.hashes, index % tileWidth);
  return leaf.length === hashByteCount ? leaf : undefined;
}

function hashAt(hashes: Buffer, at: number): Buffer {
  return hashes.subarray(at * hashByteCount, (at + 1) * hashByteCount);
}

function checkEnd({ source, range, signed, problems, prunes }: Walk): void {
  const known = Math.max(source.size, ...signed.keys());
  const broken = problems.some(({ what }) => what === 'missing' || what === 'the number is there twice');
  if (!broken && range.size < known) problems.push({ seq: range.size + 1, throughSeq: known, what: 'missing' });
  if (range.size > source.size) {
    problems.push({ seq: source.size + 1, throughSeq: range.size, what: 'entries after the end of the log' });
  }
  if (!broken && range.size === source.size && !range.peaks().equals(source.peaks)) {
    problems.push({ seq: 1, throughSeq: range.size, what: 'the head is not that of the entries' });
  }
  if (source.prunedThrough > 0 && !prunes.has(source.prunedThrough)) {
    problems.push({
      seq: 1,
      throughSeq: source.prunedThrough,
      what: 'removed, and no entry says that retention did it',
    });
  }
}
