import { type Client, createClient, type CreateClientOptions } from './client.ts';
import { bindOperations, type BoundOperations } from './generated/operations.ts';
import type { RunsQueryVariables } from './generated/graphql.ts';
import { type DatasetPackage, downloadPackage } from './packages.ts';
import { everyPage } from './pages.ts';
import { putUpload, stateOf, type Upload, type UploadOptions } from './uploads.ts';
import { type AuditEntry, watchAudit, type WatchAuditOptions } from './watch-audit.ts';
import { type RunChange, watchChanges, type WatchChangesOptions } from './watch-changes.ts';
import { type RunProgress, watchProgress, type WatchProgressOptions } from './watch-progress.ts';
import { type RunEventItem, watchRun, type WatchRunOptions } from './watch-run.ts';

type ListedRun = Awaited<ReturnType<BoundOperations['runs']>>['edges'][number]['node'];

/** The API of Flux as one object. What needs a small bundle takes `createClient` and the functions it uses instead. */
export interface Flux {
  /** One method per operation: `flux.api.startRun({ pipeline })`, `flux.api.runs({ first: 20 })`. */
  readonly api: BoundOperations;
  readonly runs: {
    /** @see watchRun */
    watch(runId: string, options?: WatchRunOptions): AsyncGenerator<RunEventItem, void, undefined>;
    /** @see watchProgress */
    progress(runId: string, options?: WatchProgressOptions): AsyncGenerator<RunProgress, void, undefined>;
    /** @see watchChanges */
    changes(options?: WatchChangesOptions): AsyncGenerator<RunChange, void, undefined>;
    /** Every run that fits, newest first unless asked otherwise; pages are asked for as they are needed. */
    all(variables?: Omit<RunsQueryVariables, 'after'>): AsyncGenerator<ListedRun, void, undefined>;
  };
  readonly audit: {
    /** @see watchAudit */
    watch(options?: WatchAuditOptions): AsyncGenerator<AuditEntry, void, undefined>;
  };
  readonly uploads: {
    /** @see putUpload */
    put(name: string, content: Blob, options?: UploadOptions): Promise<Upload>;
    /** Where an upload stands; null where there is none of that name. @throws FluxError */
    find(name: string): Promise<Upload | null>;
  };
  readonly datasets: {
    /** @see downloadPackage */
    package(name: string, options?: { signal?: AbortSignal }): Promise<DatasetPackage>;
  };
  readonly client: Client;
  /** Ends every stream and closes the socket. */
  close(): void;
}

export function createFlux(options: CreateClientOptions): Flux {
  const client = createClient(options);
  const api = bindOperations(client);
  return {
    api,
    runs: {
      watch: (runId, watchOptions) => watchRun(client, runId, watchOptions),
      progress: (runId, watchOptions) => watchProgress(client, runId, watchOptions),
      changes: (watchOptions) => watchChanges(client, watchOptions),
      all: (variables = {}) => everyPage((after) => api.runs({ ...variables, after })),
    },
    audit: { watch: (watchOptions) => watchAudit(client, watchOptions) },
    uploads: {
      put: (name, content, uploadOptions) => putUpload(client, name, content, uploadOptions),
      find: (name) => stateOf(client, name),
    },
    datasets: { package: (name, packageOptions) => downloadPackage(client, name, packageOptions) },
    client,
    close: () => client.close(),
  };
}
