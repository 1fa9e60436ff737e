/** A worker in a process of its own, for tests that kill or freeze it: `node worker-child.ts <configuration as JSON>`. */
import { startWorker } from '../../src/worker/worker.ts';
import { fakeEngine } from './fake-engine.ts';

const { databaseUrl, contextKey, workFolder, id, count, batchRecords, batchMs } = JSON.parse(
  process.argv[2] as string,
) as {
  databaseUrl: string;
  contextKey: string;
  workFolder: string;
  id: string;
  count: number;
  batchRecords: number;
  /** How long each batch takes to prepare. */
  batchMs: number;
};
const engine = fakeEngine({
  values: Array.from({ length: count }, (_, i) => i),
  partitions: 1,
  batchRecords,
  beforeBatch: () => new Promise((resolve) => setTimeout(resolve, batchMs)),
});
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const worker = startWorker(
  { databaseUrl, contextKey: Buffer.from(contextKey, 'hex'), workFolder, id },
  { engine, log },
);
process.on('SIGTERM', () => void worker.stop({ graceMs: 10_000 }).then(() => process.exit(0)));
