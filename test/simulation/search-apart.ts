import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

import type { ApartSearch, Found } from './search-thread.ts';

/**
 * `search` in a thread of its own, which coverage does not follow into: there each branch of every library is counted, at half the pace.
 * What schedules run of the product's lines is measured by planted-bugs.test.ts, which searches where it stands.
 *
 * @throws what the search throws
 */
export async function searchApart(from: number, count: number): Promise<Found> {
  const thread = new Worker(new URL('./search-thread.ts', import.meta.url), {
    workerData: { from, count } satisfies ApartSearch,
  });
  try {
    const [found] = (await once(thread, 'message')) as [Found];
    return found;
  } finally {
    await thread.terminate();
  }
}
