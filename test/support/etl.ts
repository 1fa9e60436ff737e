import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceAccess } from '../../src/connectors/source.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlDeps } from '../../src/etl/open-child.ts';
import type {
  Batch,
  BatchesRequest,
  EtlEngine,
  PinnedObject,
  PipelineDefinition,
  PlanRequest,
  RejectedRecord,
  SourcePlan,
  StepCount,
} from '../../src/etl/engine-types.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { codeFolder } from './code-folder.ts';
import { goodRows } from './copy-file.ts';

type Contract = BatchesRequest['contract'];

/** An engine over a folder of its own: source files in, objects and work beside them. */
export interface EtlBench {
  engine: EtlEngine;
  /** Where `put` writes, and what the agency `test` may read. */
  sources: string;
  workFolder: string;
  put(name: string, content: string | Uint8Array): Promise<void>;
  pin(definition: PipelineDefinition, connection?: SourceAccess): Promise<PinnedObject>;
  /** Pins, plans and reads every range to its end. @param connection the bench's own files if absent */
  run(
    definition: PipelineDefinition,
    contract: Contract,
    connection?: SourceAccess,
    more?: Partial<PlanRequest>,
  ): Promise<EtlResult>;
  remove(): Promise<void>;
}

export interface EtlResult {
  plan: SourcePlan;
  object: PinnedObject;
  /** Good rows, fields unquoted; null is null. */
  rows: (string | null)[][];
  rejected: RejectedRecord[];
  read: number;
  /** Sums by step, in order. */
  steps: StepCount[];
  cursors: string[];
  /** Values that were left out of good records. */
  dropped: NonNullable<Batch['dropped']>[number][];
  frozen: Batch['frozen'];
}

export async function etlBench(options: { root?: string; agency?: string } & Partial<EtlDeps> = {}): Promise<EtlBench> {
  const folder = await mkdtemp(join(tmpdir(), 'flux etl-'));
  const sources = options.root ?? join(folder, 'sources');
  const workFolder = join(folder, 'work');
  await mkdir(sources, { recursive: true });
  await mkdir(workFolder);
  const objects = createFileStore({ folder: join(folder, 'objects'), dataKey: Buffer.alloc(32, 7) });
  const engine = createEtlEngine({ ...codeFolder, objects, sourceRoots: { test: [sources] }, ...options });
  const { signal } = new AbortController();
  const files: SourceAccess = { name: 'files', kind: 'file', config: { roots: ['.'] } };
  const pin = (definition: PipelineDefinition, connection = files): Promise<PinnedObject> =>
    engine.pinSource({ agency: 'test', connection, source: definition.source, signal });
  return {
    engine,
    sources,
    workFolder,
    pin,
    put: (name, content) => writeFile(join(sources, name), content),
    async run(definition, contract, connection, more = {}) {
      const object = await pin(definition, connection);
      const request = { agency: options.agency ?? 'test', definition, contract, object, workFolder, signal, ...more };
      const plan = await engine.planSource(request);
      return { plan, object, ...(await readAll(engine, plan, request)) };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

type ReadResult = Omit<EtlResult, 'plan' | 'object'>;

async function readAll(
  engine: EtlEngine,
  plan: SourcePlan,
  request: Omit<BatchesRequest, 'range' | 'cursor'>,
): Promise<ReadResult> {
  const result: ReadResult = { rows: [], rejected: [], read: 0, steps: [], cursors: [], dropped: [], frozen: null };
  for (const range of plan.ranges) {
    for await (const batch of engine.openBatches({ ...request, range, cursor: null })) {
      // Concatenating millions of rows would measure the test, not the engine.
      if (batch.goodCount > 0 && batch.goodCount <= 20_000) result.rows.push(...goodRows(batch, plan.columns));
      result.rejected.push(...batch.rejected);
      result.read += batch.recordsRead;
      result.steps = addSteps(result.steps, batch.steps);
      result.dropped.push(...(batch.dropped ?? []));
      result.frozen ??= batch.frozen;
      result.cursors.push(batch.cursor);
      await batch.release();
    }
  }
  return result;
}

function addSteps(sums: readonly StepCount[], steps: readonly StepCount[]): StepCount[] {
  return steps.map((step, at) => {
    const sum = sums[at];
    if (sum === undefined) return step;
    return {
      ...step,
      recordsIn: step.recordsIn + sum.recordsIn,
      recordsOut: step.recordsOut + sum.recordsOut,
      recordsRejected: step.recordsRejected + sum.recordsRejected,
      recordsFiltered: step.recordsFiltered + sum.recordsFiltered,
    };
  });
}

export function definitionOf(
  path: string,
  format: PipelineDefinition['source']['format'],
  more: Partial<PipelineDefinition> = {},
): PipelineDefinition {
  return {
    name: 'tested',
    source: { connection: 'files', path, format },
    destination: { type: 'postgres', dataset: 'tested', mode: 'replace' },
    ...more,
  };
}

/** A contract of one level; every property that is named in `required` is. */
export function contractOf(
  properties: Record<string, unknown>,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Tested',
    type: 'object',
    properties,
    ...more,
  };
}
