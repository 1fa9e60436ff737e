import type { StepCount, StepDeclaration } from './engine-types.ts';
import type { Chunk } from './ingest/reader.ts';
import { passedState } from './ingest/passed-over.ts';
import { writesParts } from './output-shape.ts';
import type { ChildJob } from './protocol.ts';
import { stateOfTransform } from './transform/transforms.ts';

/** The steps of a session that reads and writes. */
export function declaredSteps(
  job: ChildJob,
  { passesOver, transforms }: { passesOver: boolean; transforms: readonly StepDeclaration[] },
): StepDeclaration[] {
  const { stage = 'FULL', staged } = job;
  const read: StepDeclaration[] = !staged
    ? [
        { stage: 'INGEST', step: 'read', kind: 'read' },
        ...(passesOver ? [{ stage: 'INGEST', step: 'pass over', kind: 'filter' } as const] : []),
        { stage: 'INGEST', step: 'validate', kind: 'validate' },
      ]
    : [{ stage: stage === 'FULL' ? 'TRANSFORM' : stage, step: 'read_parts', kind: 'read' }];
  const write: StepDeclaration = writesParts(job)
    ? { stage: stage === 'INGEST' ? stage : 'TRANSFORM', step: 'write_parts', kind: 'write' }
    : { stage: 'EXPORT', step: 'write', kind: 'write' };
  return [...read, ...transforms, write];
}

/** A step that has seen nothing. */
export function zeroCount(step: StepDeclaration): StepCount {
  return { ...step, recordsIn: 0, recordsOut: 0, recordsRejected: 0, recordsFiltered: 0 };
}

/** The sum of two counts of one step. */
export function addCounts(one: StepCount, other: StepCount | undefined): StepCount {
  if (other === undefined) return one;
  return {
    ...one,
    recordsIn: one.recordsIn + other.recordsIn,
    recordsOut: one.recordsOut + other.recordsOut,
    recordsRejected: one.recordsRejected + other.recordsRejected,
    recordsFiltered: one.recordsFiltered + other.recordsFiltered,
  };
}

/** Records in and out of steps row by row. @param states rows by `_flux_state` */
export function countSegment(
  steps: readonly StepDeclaration[],
  recordsIn: number,
  states: ReadonlyMap<number, number>,
): StepCount[] {
  return countSteps(steps, { recordsRead: recordsIn, unreadable: [], refused: [] }, states);
}

/**
 * Records in and out of each step of a batch. What a step rejects or filters does not reach the next one.
 *
 * @param states rows of the batch by `_flux_state`
 */
export function countSteps(
  steps: readonly StepDeclaration[],
  chunk: Pick<Chunk, 'recordsRead' | 'unreadable' | 'refused' | 'passed'>,
  states: ReadonlyMap<number, number>,
): StepCount[] {
  let records = chunk.recordsRead;
  let transform = 0;
  return steps.map((step) => {
    const recordsIn = records;
    let recordsRejected = 0;
    let recordsFiltered = 0;
    if (step.kind === 'read') recordsRejected = chunk.unreadable.length;
    if (step.stage === 'INGEST' && step.kind === 'filter')
      recordsFiltered = (chunk.passed ?? 0) + (states.get(passedState) ?? 0);
    if (step.kind === 'validate') recordsRejected = chunk.refused.length + (states.get(1) ?? 0);
    if (step.stage === 'TRANSFORM' && (step.kind === 'row' || step.kind === 'filter' || step.kind === 'join')) {
      recordsFiltered = states.get(stateOfTransform(transform)) ?? 0;
      transform += 1;
    }
    records = recordsIn - recordsRejected - recordsFiltered;
    return { ...step, recordsIn, recordsOut: records, recordsRejected, recordsFiltered };
  });
}
