/** A search in a thread of its own (search-apart.ts). */
import { parentPort, workerData } from 'node:worker_threads';

import { report, type Search, search } from './search.ts';

/** What a thread is asked for: as many schedules from this seed on. */
export interface ApartSearch {
  from: number;
  count: number;
}

/** A search, the failed schedule told in words: what it is made of does not leave its thread. */
export type Found = Omit<Search, 'failed'> & { failed: string | null };

const { from, count } = workerData as ApartSearch;
const { failed, ...found } = search(from, count);
parentPort?.postMessage({ ...found, failed: failed === null ? null : report(failed) } satisfies Found);
