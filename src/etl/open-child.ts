import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { EtlChild } from './child-process.ts';
import { type GrowthLimits, growthLimitsDefault } from './decompressed-copy.ts';
import type { Since } from './engine-types.ts';
import { contractOf } from './find-evolved.ts';
import { endChild, type KeptChild, type OpenedChild } from './kept-child.ts';
import { openInput, type OpenRequest } from './open-input.ts';
import { openReferences } from './open-references.ts';
import type { Range } from './protocol.ts';
import type { SourceDeps } from './source-pins.ts';
import type { SpareChild } from './spare-child.ts';

export interface EtlDeps extends SourceDeps {
  /** How long a child may take to open, or to prepare one batch; 120 s by default. */
  stepTimeoutMs?: number;
  /** How long reading a whole source once may take; 1 h by default. */
  surveyTimeoutMs?: number;
  /** DuckDB's memory limit in each child; 256 by default. */
  memoryMegabytes?: number;
  /** The key that hashes an agency's identifiers under a salt's name. @throws KEY_UNAVAILABLE the agency may not use it */
  saltOf?: (agency: string, name: string) => Uint8Array;
  /** How far a compressed source may grow; to 64 GiB, and to 250 times its size, by default. */
  growthLimits?: GrowthLimits;
  /** A folder of this process where a child works that may serve several ranges of a run, one after the other; absent: none does. */
  keepFolder?: string;
  /** A folder of this process, nobody else's, where Node keeps our compiled sources, so that each child but the first starts in half the time. */
  codeFolder?: string;
}

export type EngineDeps = EtlDeps & { kept: KeptChild; spare: SpareChild };

export const stepTimeoutMsDefault = 120_000;
export const surveyTimeoutMsDefault = 3_600_000;
const memoryMegabytesDefault = 256;

/** Does the work with a child of the request, which may be one that has done another range of the same run. */
export async function withChild<T>(
  deps: EngineDeps,
  request: OpenRequest,
  work: (child: EtlChild, contentBytes: number) => Promise<T>,
  range: Range | null = null,
): Promise<T> {
  const opened = await openChild(deps, request, range);
  let done = false;
  try {
    const answer = await work(opened.child, opened.contentBytes);
    done = true;
    return answer;
  } finally {
    await leaveChild(deps, request, { opened, range, done });
  }
}

export async function openChild(
  deps: EngineDeps,
  request: OpenRequest,
  range: Range | null = null,
): Promise<OpenedChild> {
  const { definition, workFolder, signal, stage = 'FULL' } = request;
  const key = keyOf(deps, request, range);
  const waiting = key === null ? null : deps.kept.take(key, signal);
  if (waiting !== null) return waiting;
  const since = sinceOf(request, range);
  // What is to outlive a partition's folder cannot stand in it.
  const outlives = key !== null || request.growing !== undefined;
  const folder = await mkdtemp(join((outlives ? deps.keepFolder : undefined) ?? workFolder, 'etl-'));
  const limits = deps.growthLimits ?? growthLimitsDefault;
  let child: EtlChild | null = null;
  try {
    const input = await openInput(deps.objects, request, { range, folder, limits });
    const references = await openReferences(deps.objects, request, folder);
    child = deps.spare.take(signal);
    const memoryMegabytes = deps.memoryMegabytes ?? memoryMegabytesDefault;
    const job = {
      definition,
      contract: contractOf(request, range),
      stage,
      ...(since ? { since } : {}),
      salts: saltsOf(deps, request),
      wanted: range?.clusters !== undefined,
      ...input,
      references,
      workFolder: folder,
      memoryMegabytes,
      growthLimits: limits,
    };
    await child.ask({ ask: 'open', job }, deps.stepTimeoutMs ?? stepTimeoutMsDefault);
    const contentBytes = input.staged?.byteCount ?? input.objectByteCount;
    return { child, folder, contentBytes, guess: null, guessedWrong: false };
  } catch (cause) {
    await child?.stop();
    await rm(folder, { recursive: true, force: true });
    throw cause;
  }
}

/** Chosen records are read again because they are wanted, whatever their cursor says. */
function sinceOf({ since }: OpenRequest, range: Range | null): Since | undefined {
  return range?.clusters ? undefined : (range?.since ?? since);
}

/** The keys of the salts that the pipeline names. A plan hashes nothing, and needs none. */
function saltsOf({ saltOf }: EtlDeps, { agency, definition }: OpenRequest): Record<string, string> {
  const hashes = (definition.transforms ?? []).filter(({ type, hash }) => type === 'sterilise' && hash !== undefined);
  const names = new Set(hashes.map(({ salt }) => (typeof salt === 'string' ? salt : 'agency')));
  if (!saltOf || agency === undefined) return {};
  return Object.fromEntries([...names].map((name) => [name, Buffer.from(saltOf(agency, name)).toString('hex')]));
}

/** A child that has given all it was asked for may be wanted again. */
export async function leaveChild(
  deps: EngineDeps,
  request: OpenRequest,
  { opened, range, done }: { opened: OpenedChild; range: Range | null; done: boolean },
): Promise<void> {
  const key = done ? keyOf(deps, request, range) : null;
  if (key === null) await endChild(opened);
  else deps.kept.keep(key, opened);
}

/** Everything that a child is opened with; null: it is for one range alone. */
export function keyOf(deps: EngineDeps, request: OpenRequest, range: Range | null): string | null {
  const { runId, definition, stage = 'FULL', object, staged, localObject, references = [] } = request;
  if (deps.keepFolder === undefined || runId === undefined) return null;
  if (!object || staged || localObject || range?.clusters || references.length > 0) return null;
  const contract = contractOf(request, range);
  const since = sinceOf(request, range);
  return JSON.stringify([
    runId,
    definition,
    contract,
    stage,
    since,
    object.address,
    object.sha256,
    saltsOf(deps, request),
  ]);
}
