import type { Claim } from '../db/queue.ts';
import type { Log, Turn } from './work.ts';

/**
 * The log of one taking: each line names the run, the partition, and the trace of the request that asked for the run, as soon as the run is
 * read. So one id leads from a request through every process that had a part in it, whether or not spans are exported.
 */
export function takingLog(log: Log, { runId, agencyId, partitionNo, epoch }: Claim, turn: Turn): Log {
  const own = (fields: object): object => ({
    runId,
    agency: agencyId,
    partition: partitionNo,
    epoch,
    ...(turn.traceId === null ? {} : { traceId: turn.traceId }),
    ...fields,
  });
  return {
    debug: (fields, message) => log.debug(own(fields), message),
    info: (fields, message) => log.info(own(fields), message),
    warn: (fields, message) => log.warn(own(fields), message),
    error: (fields, message) => log.error(own(fields), message),
  };
}
