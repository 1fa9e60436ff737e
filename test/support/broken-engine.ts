import { FluxError } from '../../src/errors.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';

/** Fails before the given batch of all that are read. */
export function breaksAt(engine: EtlEngine, number: number): EtlEngine {
  return {
    ...engine,
    async *openBatches(request) {
      let seen = 0;
      for await (const batch of engine.openBatches(request)) {
        seen += 1;
        if (seen === number) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
        yield batch;
      }
    },
  };
}
