/**
 * An export: what anybody can verify without the database. Per agency the tiles and checkpoint of C2SP tlog-tiles,
 *
 *   log.json                             {format, installation, logOfLogs: [note, ...] | null, agencies: [{agency, size, ...}]}
 *   <agency>/checkpoint                  the newest signed note
 *   <agency>/checkpoints.json            every signed note, a JSON list
 *   <agency>/tile/<level>/<number>       up to 256 hashes of 32 bytes
 *   <agency>/tile/entries/<number>       up to 256 entries, a line each
 *
 * with one difference: entries stand a line each (canonical JSON has no line breaks) and not behind a length of 16 bits, because an
 * entry may be longer than 65,535 bytes. An export ends at the newest checkpoint, so that all of it is proven.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { sha256 } from '../crypto/hash.ts';
import { readAgencyEntries } from '../db/audit-entries.ts';
import { listAuditCheckpoints, listHeads, readTile } from '../db/audit-log-read.ts';
import { installationName } from '../db/audit-sealing.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { CompactRange } from './compact-range.ts';
import { hashByteCount } from './merkle.ts';
import { tileWidth } from './proofs.ts';
import type { LogSource, ReadEntry } from './verify.ts';
import type { WholeSource } from './verify-all.ts';

interface Manifest {
  format: 1;
  installation: string;
  logOfLogs: { logNo: number; note: string }[] | null;
  agencies: { agency: string; size: number; peaks: string; prunedThrough: number }[];
}

const newline = 0x0a;

/**
 * Writes the sealed and signed entries of one agency or of all.
 *
 * @param folder is made; must be empty
 * @throws INVALID_INPUT the folder holds something
 */
export async function exportAudit(
  tx: Queryable,
  folder: string,
  only?: string,
): Promise<{ agencies: { agency: string; size: number }[] }> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) {
    throw new FluxError('INVALID_INPUT', `${folder} is not empty. Name a new folder for the export.`);
  }
  const checkpoints = await listAuditCheckpoints(tx);
  const manifest: Manifest = {
    format: 1,
    installation: await installationName(tx),
    logOfLogs: only === undefined ? checkpoints.map(({ logNo, note }) => ({ logNo: Number(logNo), note })) : null,
    agencies: [],
  };
  for (const head of await listHeads(tx)) {
    const notes = checkpoints.filter(({ agency }) => agency === head.agency);
    const newest = notes.reduce((size, one) => (one.size > size ? one.size : size), 0n);
    if (newest === 0n || (only !== undefined && head.agency !== only)) continue;
    const at = path.join(folder, head.agency);
    await mkdir(path.join(at, 'tile', 'entries'), { recursive: true });
    await writeFile(path.join(at, 'checkpoint'), notes.find(({ size }) => size === newest)?.note ?? '');
    await writeFile(path.join(at, 'checkpoints.json'), JSON.stringify(notes.map(({ note }) => note)));
    const range = await exportTiles(tx, at, head.agency, Number(newest));
    await exportEntries(tx, at, head.agency, newest);
    const [size, peaks] = [Number(newest), range.peaks().toString('hex')];
    manifest.agencies.push({ agency: head.agency, size, peaks, prunedThrough: Number(head.prunedThrough) });
  }
  await writeFile(path.join(folder, 'log.json'), JSON.stringify(manifest));
  return { agencies: manifest.agencies.map(({ agency, size }) => ({ agency, size })) };
}

async function exportTiles(tx: Queryable, at: string, agency: string, size: number): Promise<CompactRange> {
  const range = new CompactRange();
  for (let [level, count] = [0, size]; count > 0; level += 1, count = Math.floor(count / tileWidth)) {
    await mkdir(path.join(at, 'tile', String(level)), { recursive: true });
    for (let tileNo = 0; tileNo * tileWidth < count; tileNo += 1) {
      const width = Math.min(tileWidth, count - tileNo * tileWidth);
      const hashes = ((await readTile(tx, { agency, level, tileNo })) ?? Buffer.alloc(0)).subarray(0, width * 32);
      await writeFile(path.join(at, 'tile', String(level), String(tileNo)), hashes);
      if (level > 0) continue;
      for (let i = 0; i < hashes.length; i += hashByteCount) range.append(hashes.subarray(i, i + hashByteCount));
    }
  }
  return range;
}

async function exportEntries(tx: Queryable, at: string, agency: string, throughSeq: bigint): Promise<void> {
  let [tileNo, lines]: [number, Buffer[]] = [0, []];
  const flush = async (): Promise<void> => {
    if (lines.length > 0) await writeFile(path.join(at, 'tile', 'entries', String(tileNo)), Buffer.concat(lines));
    lines = [];
  };
  for await (const rows of readAgencyEntries(tx, agency, throughSeq)) {
    for (const { seq, body } of rows) {
      const tile = Math.floor((Number(seq) - 1) / tileWidth);
      if (tile !== tileNo) await flush();
      tileNo = tile;
      lines.push(body, Buffer.from([newline]));
    }
  }
  await flush();
}

/** @throws INVALID_INPUT the folder holds no export */
export async function openExport(folder: string, only?: string): Promise<WholeSource> {
  const text = await readFile(path.join(folder, 'log.json'), 'utf8').catch(() => '');
  if (text === '') throw new FluxError('INVALID_INPUT', `${folder} holds no export of an audit log (no log.json).`);
  const manifest = JSON.parse(text) as Manifest;
  const chosen = manifest.agencies.filter(({ agency }) => only === undefined || agency === only);
  const logs = chosen.map(async ({ agency, size, peaks, prunedThrough }): Promise<Omit<LogSource, 'origin'>> => {
    const at = path.join(folder, agency);
    return {
      agency,
      size,
      peaks: Buffer.from(peaks, 'hex'),
      prunedThrough,
      entries: () => readExported(at, size, prunedThrough),
      readTile: (level, tileNo) =>
        readFile(path.join(at, 'tile', String(level), String(tileNo))).catch(() => undefined),
      notes: JSON.parse(await readFile(path.join(at, 'checkpoints.json'), 'utf8')) as string[],
    };
  });
  return {
    installation: manifest.installation,
    logs: await Promise.all(logs),
    logOfLogs: only === undefined ? manifest.logOfLogs : null,
  };
}

async function* readExported(at: string, size: number, pruned: number): AsyncGenerator<ReadEntry[], void, void> {
  for (let tileNo = Math.floor(pruned / tileWidth); tileNo * tileWidth < size; tileNo += 1) {
    const first = Math.max(pruned, tileNo * tileWidth) + 1;
    const file = await readFile(path.join(at, 'tile', 'entries', String(tileNo))).catch(() => Buffer.alloc(0));
    yield entriesOf(file, first);
  }
}

/**
 * Hashes each line where it lies: the byte before it, the last line's break, is made the 0x00 of RFC 6962, which saves a copy
 * for each entry.
 */
function entriesOf(file: Buffer, first: number): ReadEntry[] {
  const bytes = Buffer.allocUnsafe(file.length + 1);
  file.copy(bytes, 1);
  const entries: ReadEntry[] = [];
  for (let start = 1; start < bytes.length;) {
    const found = bytes.indexOf(newline, start);
    const end = found < 0 ? bytes.length : found;
    bytes[start - 1] = 0x00;
    const entry: ReadEntry = {
      seq: first + entries.length,
      leaf: sha256(bytes.subarray(start - 1, end)),
    };
    const prune = bytes.subarray(start, end).includes('{"action":"audit.prune"')
      ? /"prunedThrough":"(\d+)"/.exec(bytes.toString('utf8', start, end))
      : null;
    if (prune) entry.prunedThrough = Number(prune[1]);
    entries.push(entry);
    start = end + 1;
  }
  return entries;
}
