import { rm } from 'node:fs/promises';
import path from 'node:path';
import { joinedDatasets, type JoinedDataset } from '../contracts/joins.ts';
import { snapshotDataset } from '../db/lake-reference.ts';
import type { Connection } from '../db/pool.ts';
import { findJoinable, insertReferences, listReferences, type RunReference } from '../db/run-references.ts';
import { requireJoinable } from '../domain/joined-datasets.ts';
import type { Reference } from '../etl/engine-types.ts';
import { intoNewFile } from '../etl/into-new-file.ts';
import { newestObjectKey } from './object-keys.ts';
import type { Work } from './work.ts';

/** What a joined dataset may be, in the columns that are read of it: a step keeps it in memory. */
const referenceBytesMax = 32 * 1_048_576;

/** What a run joins, on its way into the run's plan. */
export interface PinnedReferences {
  /** For the engine, which may read them before they are stored. */
  references: Reference[];
  /** Puts what is new into the object store. The plan's transaction takes what comes out. */
  store(): Promise<RunReference[]>;
}

/** A reference that an earlier run has pinned, or one that was copied now. */
type Pinned = { kept: RunReference } | { copied: Omit<RunReference, 'address' | 'keyVersion'>; file: string };

/**
 * Finds what the run's transforms join: the records that an earlier run has pinned, where this one is to see the same, and otherwise those
 * that the datasets hold now.
 *
 * @param from the run that is done again, gone on with, or reprocessed
 * @throws REFERENCE_MISSING there is nothing that the run may read
 * @throws LIMIT_EXCEEDED it is too large to be joined
 */
export async function pinReferences(work: Work, from: string | null, signal: AbortSignal): Promise<PinnedReferences> {
  const needed = neededBy(work);
  if (needed.length === 0) return { references: [], store: () => Promise.resolve([]) };
  const { holder, claim, run } = work;
  const earlier = from === null ? [] : await listReferences(holder, { agencyId: claim.agencyId, runId: from });
  const kept = needed.flatMap(
    (each) => earlier.find((one) => holds(one, each) && one.classification <= run.classification) ?? [],
  );
  const missing = needed.filter(({ dataset }) => !kept.some((one) => one.dataset === dataset));
  const copied = await copyDatasets(work, missing, signal);
  const pinned: Pinned[] = [...kept.map((one) => ({ kept: one })), ...copied];
  return { references: pinned.map(asReference), store: () => storeAll(work, pinned) };
}

/** What the plan of our run has pinned. */
export async function pinnedReferences(work: Work): Promise<Reference[]> {
  if (neededBy(work).length === 0) return [];
  return (await listReferences(work.holder, work.claim)).map((kept) => asReference({ kept }));
}

/** Takes over what another run has pinned, in the plan's transaction. */
export async function takeReferences(tx: Connection, { claim }: Work, from: string): Promise<RunReference[]> {
  const references = await listReferences(tx, { agencyId: claim.agencyId, runId: from });
  await insertReferences(tx, claim, references);
  return references;
}

/** What a plan's history says of them. */
export function referenceData(references: readonly RunReference[]): Record<string, unknown> {
  if (references.length === 0) return {};
  return {
    references: references.map(({ dataset, loads, records, sha256 }) => ({
      dataset,
      loads: loads.length,
      load: loads.at(-1) ?? null,
      records,
      sha256,
    })),
  };
}

/** Only a stage that transforms joins. */
function neededBy({ definition, run }: Pick<Work, 'definition' | 'run'>): JoinedDataset[] {
  return run.stage === 'FULL' || run.stage === 'TRANSFORM' ? joinedDatasets(definition.transforms) : [];
}

function holds(reference: RunReference, { dataset, columns }: JoinedDataset): boolean {
  return (
    reference.dataset === dataset && columns.every((name) => reference.columns.some((column) => column.name === name))
  );
}

async function copyDatasets(work: Work, needed: readonly JoinedDataset[], signal: AbortSignal): Promise<Pinned[]> {
  const { holder, claim, run, lake: schema, folder } = work;
  const found = await findJoinable(
    holder,
    needed.map(({ dataset }) => dataset),
  );
  const copied: Pinned[] = [];
  for (const [at, { dataset, columns: names }] of needed.entries()) {
    const state = found.find(({ name }) => name === dataset) ?? null;
    const columns = requireJoinable({ dataset, columns: names }, state, run.classification);
    const file = path.join(folder, `reference-${String(at)}.csv`);
    await rm(file, { force: true });
    const request = { agencyId: claim.agencyId, schema, dataset, columns, bytesMax: referenceBytesMax, signal };
    const snapshot = await intoNewFile(file, (to) => snapshotDataset(holder, { ...request, to }));
    // What was found before may have been replaced since.
    requireJoinable(
      { dataset, columns: names },
      state && { ...state, loads: snapshot?.loads.length ?? 0, classification: snapshot?.classification ?? null },
      run.classification,
    );
    if (snapshot) copied.push({ copied: { ...snapshot, dataset, classification: snapshot.classification ?? 0 }, file });
  }
  return copied;
}

function asReference(pinned: Pinned): Reference {
  const { dataset, columns, records, sha256, byteCount } = 'kept' in pinned ? pinned.kept : pinned.copied;
  const place =
    'kept' in pinned ? { address: pinned.kept.address, keyVersion: pinned.kept.keyVersion } : { path: pinned.file };
  return { dataset, columns, records, sha256, byteCount, place };
}

async function storeAll(work: Work, pinned: readonly Pinned[]): Promise<RunReference[]> {
  const { claim, deps } = work;
  const dataKey = await newestObjectKey(work);
  const stored: RunReference[] = [];
  for (const each of pinned) {
    if ('kept' in each) {
      stored.push(each.kept);
      continue;
    }
    const { address, keyVersion } = await deps.engine.storeReference({
      agency: claim.agencyId,
      path: each.file,
      dataKey,
    });
    await rm(each.file, { force: true });
    stored.push({ ...each.copied, address, keyVersion });
  }
  return stored;
}
