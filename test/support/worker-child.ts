/** A worker in a process of its own, for tests that kill or freeze it: `node worker-child.ts <configuration as JSON>`. */
import { startWorker } from '../../src/worker/worker.ts';
import { fakeEngine } from './fake-engine.ts';

const {
  databaseUrl,
  contextKey,
  workFolder,
  id,
  count,
  batchRecords,
  batchMs,
  pin = 'at once',
} = JSON.parse(process.argv[2] as string) as {
  databaseUrl: string;
  contextKey: string;
  workFolder: string;
  id: string;
  count: number;
  batchRecords: number;
  /** How long each batch takes to prepare. */
  batchMs: number;
  /** Whether the source is pinned at once; or never, and whether it hears that it is to stop. */
  pin?: 'at once' | 'never' | 'never, and deaf';
};
const engine = fakeEngine({
  values: Array.from({ length: count }, (_, i) => i),
  partitions: 1,
  batchRecords,
  beforeBatch: () => new Promise((resolve) => setTimeout(resolve, batchMs)),
  async beforePin(signal) {
    if (pin === 'at once') return;
    // The timer keeps the process, as an open source would.
    await new Promise((_resolve, reject) => {
      setInterval(() => {
        if (pin === 'never' && signal.aborted) reject(signal.reason as Error);
      }, 20);
    });
  },
});
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const worker = startWorker(
  { databaseUrl, contextKey: Buffer.from(contextKey, 'hex'), workFolder, id },
  { engine, log },
);
process.on('SIGTERM', () => void worker.stop({ graceMs: 10_000 }).then(() => process.exit(0)));
