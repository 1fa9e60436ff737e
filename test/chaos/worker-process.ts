/** A worker in a process of its own, to be killed, frozen and misled: `node worker-process.ts <configuration as JSON>`. */
import { flushCompileCache } from 'node:module';
import { inspect } from 'node:util';

import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { startWorker } from '../../src/worker/worker.ts';
import { installFailpoints, reach, withFailpoints } from './failpoints.ts';
import { listEngine } from './list-source.ts';

export interface WorkerProcessConfig {
  databaseUrl: string;
  /** Hex. */
  contextKey: string;
  workFolder: string;
  id: string;
  journal: string;
  /** The product's own engine instead of lists. */
  files?: { agency: string; sources: string; objects: string };
}

const config = JSON.parse(process.argv[2] as string) as WorkerProcessConfig;
installFailpoints(config.journal);
const engine: EtlEngine = config.files
  ? createEtlEngine({
      objects: createFileStore({ folder: config.files.objects, dataKey: Buffer.alloc(32, 7) }),
      sourceRoots: { [config.files.agency]: [config.files.sources] },
    })
  : listEngine(reach);
/** FLUX_CHAOS_LOG=1 shows what the workers have to say. */
const talks = process.env['FLUX_CHAOS_LOG'] !== undefined;
const say =
  (level: string) =>
  (fields: object, message: string): void => {
    if (talks)
      process.stderr.write(
        `${config.id} ${level} ${message} ${inspect(fields, { depth: 1, breakLength: Infinity })}\n`,
      );
  };
const worker = startWorker(
  {
    databaseUrl: config.databaseUrl,
    contextKey: Buffer.from(config.contextKey, 'hex'),
    workFolder: config.workFolder,
    id: config.id,
  },
  {
    engine: withFailpoints(engine),
    log: { debug: () => undefined, info: say('info'), warn: say('warn'), error: say('error') },
  },
);
process.on('SIGTERM', () => void worker.stop({ graceMs: 8_000 }).then(() => process.exit(0)));
// Written when a process ends by itself, which few of these do.
flushCompileCache();
// A worker whose parent has gone must not stay.
process.on('disconnect', () => process.exit(0));
