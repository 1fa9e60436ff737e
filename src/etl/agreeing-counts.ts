import { FluxError } from '../errors.ts';
import type { Chunk } from './ingest/reader.ts';

/**
 * The splitter and DuckDB are two readers of the same bytes; where they disagree, neither is to be believed.
 *
 * @param states rows by `_flux_state`
 * @throws SOURCE_INVALID
 */
export function requireAgreement(chunk: Chunk, states: ReadonlyMap<number, number>): void {
  const rows = [...states.values()].reduce((sum, count) => sum + count, 0);
  if (rows !== chunk.rowCount) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Two readers disagree about records ${chunk.firstRecord} to ${chunk.lastRecord}: ${chunk.rowCount} and ${rows}. ` +
        'Nothing of this batch was loaded; report the source to the maintainers.',
    );
  }
}
