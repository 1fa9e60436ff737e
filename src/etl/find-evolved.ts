import {
  absentFields,
  type EvolvedField,
  evolvedFields,
  evolves,
  knownNames,
  withEvolved,
} from './evolved-contract.ts';
import { columnName } from './ingest/column-names.ts';
import { modelContract } from './ingest/contract-model.ts';
import type { OpenRequest } from './open-input.ts';
import type { OutputShape, Range } from './protocol.ts';

/** What a child is asked to find fields out. */
export interface FieldQuestions {
  discover(request: OpenRequest, known: readonly string[]): Promise<EvolvedField[]>;
  describe(request: OpenRequest): Promise<OutputShape>;
}

/**
 * Looks for fields that the contract does not name, where they become columns: one more look at the source, before its records are judged.
 *
 * @throws SOURCE_INVALID there are too many, or one that cannot be a column
 */
export async function findEvolved<R extends OpenRequest>(request: R, ask: FieldQuestions): Promise<R> {
  const { definition, contract, staged, dataset = [] } = request;
  if (!evolves(definition) || staged || contract === null || typeof contract === 'boolean') return request;
  const { fields } = modelContract(contract);
  // Every field of the source is looked for, so nothing of the pipeline may be in the way, nor what an earlier run has read, which only the
  // contract's fields could tell; and no child is kept that judges nothing.
  const bare: OpenRequest & { runId?: string } = { ...(request as OpenRequest), contract: null, stage: 'INGEST' };
  delete bare.runId;
  delete bare.since;
  const found = await ask.discover(bare, knownNames(fields, definition.source.format.type));
  const evolved = evolvedFields(found, dataset);
  const has = new Set([
    ...evolved.map(({ name }) => columnName([name])),
    ...fields.map(({ path }) => columnName(path)),
  ]);
  const others = dataset.filter(({ name }) => !has.has(name));
  // An ingest does not read what its pipeline joins, so it cannot know what comes out in the end.
  const blind = request.stage === 'INGEST' && (definition.transforms ?? []).some(({ type }) => type === 'join');
  if (others.length === 0 || blind) return { ...request, evolved };
  // What transforms make is not missing in the source.
  const { columns } = await ask.describe({ ...request, stage: 'FULL', evolved });
  const absent = others.filter(({ name }) => !columns.some((column) => column.name === name));
  return { ...request, evolved: [...evolved, ...absentFields(absent)] };
}

/** The contract with what the plan has found besides. */
export function contractOf(
  { definition, contract, evolved = [] }: OpenRequest,
  range: Range | null,
): OpenRequest['contract'] {
  const found = range?.evolved ?? evolved;
  if (found.length === 0 || !evolves(definition) || contract === null || typeof contract === 'boolean') return contract;
  return withEvolved(contract, found);
}
