import type { EtlEngine, PipelineDefinition } from '../../src/etl/engine-types.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';

/** A source that its path describes: `list:<first value>:<records>:<partitions>:<milliseconds of each batch>`. */
export interface ListSource {
  firstValue: number;
  count: number;
  partitions: number;
  batchMs: number;
}

export const batchRecords = 4;

export function listPath({ firstValue, count, partitions, batchMs }: ListSource): string {
  return `list:${[firstValue, count, partitions, batchMs].join(':')}`;
}

export function readListPath(path: string): ListSource {
  const [firstValue, count, partitions, batchMs] = path.split(':').slice(1).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return { firstValue, count, partitions, batchMs };
}

/** Each eleventh record breaks the contract, each thirteenth is filtered. */
export function valuesOf({ firstValue, count }: ListSource): FakeSource['values'] {
  return Array.from({ length: count }, (_, i) => (i % 11 === 10 ? 'bad' : i % 13 === 12 ? 'drop' : firstValue + i));
}

/** An engine over such sources. @param reach is told before and after each batch is made */
export function listEngine(reach: (point: string) => void): EtlEngine {
  const of = ({ source }: Pick<PipelineDefinition, 'source'>): EtlEngine => {
    const list = readListPath(source.path);
    return fakeEngine({
      values: valuesOf(list),
      partitions: list.partitions,
      batchRecords,
      async beforeBatch() {
        reach('before transform');
        await new Promise((resolve) => setTimeout(resolve, list.batchMs));
        reach('after transform');
      },
    });
  };
  return {
    pinSource: (request) => of(request).pinSource(request),
    planSource: (request) => of(request.definition).planSource(request),
    requireNoPersonalData: () => Promise.resolve(),
    describeOutput: () => Promise.reject(new Error('a list is never reprocessed')),
    dryRun: () => Promise.reject(new Error('a list has no dry run')),
    storeReference: () => Promise.reject(new Error('a list joins nothing')),
    cutRecords: () => [],
    openBatches: (request) => of(request.definition).openBatches(request),
  };
}
