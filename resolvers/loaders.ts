import { findPipelines, type Pipeline } from '../src/db/pipelines.ts';
import type { TenantRead } from '../src/db/gathered-reads.ts';
import type { Connection } from '../src/db/pool.ts';
import { listPartitions, type RunPartition, type RunTotals, sumPartitions } from '../src/db/run-partitions-read.ts';
import { readStandstills, type RunStandstill } from '../src/db/run-waiting.ts';
import { listLoads, type LoadOfRun, type StepTotals, sumSteps } from '../src/db/step-counts-read.ts';

/**
 * Reads that many objects of one answer ask for at once, each collected into one statement. Nothing is kept after a batch: a
 * subscription's context lives for hours, and what it shows must be what is there now.
 */
export interface Loaders {
  partitions(runId: string): Promise<RunPartition[]>;
  totals(runId: string): Promise<RunTotals | null>;
  steps(runId: string): Promise<StepTotals[]>;
  standstill(runId: string): Promise<RunStandstill | null>;
  load(runId: string): Promise<LoadOfRun | null>;
  pipeline(name: string, version: number): Promise<Pipeline | null>;
}

const batchLimit = 200; // as many as a page has

export function createLoaders(read: TenantRead): Loaders {
  const comeRound = sharedTurn();
  const ofRun = <Row extends { runId: string }>(list: (tx: Connection, runIds: readonly string[]) => Promise<Row[]>) =>
    batched(
      comeRound,
      (runIds) => read((tx) => list(tx, runIds)),
      (row: Row) => row.runId,
    );
  const partitions = ofRun(listPartitions);
  const totals = ofRun(sumPartitions);
  const steps = ofRun(sumSteps);
  const loads = ofRun(listLoads);
  const standstills = ofRun(readStandstills);
  const versionKey = ({ name, version }: { name: string; version: number }): string => `${name}@${String(version)}`;
  const pipelines = batched(
    comeRound,
    (keys) => read((tx) => findPipelines(tx, keys.map(toVersion))),
    (pipeline: Pipeline) => versionKey(pipeline),
  );
  return {
    partitions,
    steps,
    totals: async (runId) => (await totals(runId))[0] ?? null,
    standstill: async (runId) => (await standstills(runId))[0] ?? null,
    load: async (runId) => (await loads(runId))[0] ?? null,
    pipeline: async (name, version) => (await pipelines(versionKey({ name, version })))[0] ?? null,
  };
}

function toVersion(key: string): { name: string; version: number } {
  const at = key.lastIndexOf('@');
  return { name: key.slice(0, at), version: Number(key.slice(at + 1)) };
}

/** The event loop's next turn, the same promise for all who ask within one: what they read then is read together. */
function sharedTurn(): () => Promise<void> {
  let turn: Promise<void> | undefined;
  return () =>
    (turn ??= new Promise((resolve) => {
      setImmediate(() => {
        turn = undefined;
        resolve();
      });
    }));
}

/** Collects the keys that are asked for until the event loop comes round, and reads them together. */
function batched<Row>(
  comeRound: () => Promise<void>,
  list: (keys: readonly string[]) => Promise<Row[]>,
  keyOf: (row: Row) => string,
): (key: string) => Promise<Row[]> {
  let waiting: { keys: Set<string>; rows: Promise<Map<string, Row[]>> } | undefined;
  const collect = (): NonNullable<typeof waiting> => {
    const keys = new Set<string>();
    const rows = comeRound().then(async () => {
      if (waiting?.keys === keys) waiting = undefined;
      return Map.groupBy(await list([...keys]), keyOf);
    });
    return { keys, rows };
  };
  return async (key) => {
    if (!waiting || waiting.keys.size >= batchLimit) waiting = collect();
    waiting.keys.add(key);
    return (await waiting.rows).get(key) ?? [];
  };
}
