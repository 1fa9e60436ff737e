import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';

import { afterAll, beforeAll } from 'vitest';

import type { Context } from '../../resolvers/context.ts';
import type { Run } from '../../src/db/runs.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { receiveUpload } from '../../src/domain/receive-upload.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { registerContract } from '../../src/domain/register-contract.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { type StartRun, startRun } from '../../src/domain/start-run.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createKeyRing, type KeyRing } from '../../src/keys/key-ring.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import type { Outcome } from '../../src/worker/work.ts';
import type { AgencyOverrides } from './agency.ts';
import { apiDeps, contextOf } from './api.ts';
import type { TestDatabase } from './database.ts';
import type { WorkerBench } from './worker.ts';
import { codeFolder } from './code-folder.ts';

const asked = { reason: null, idempotencyKey: null };

/**
 * An agency whose files go through the real engine, from the request to the lake. As everywhere in production, what its runs leave
 * behind is sealed.
 */
export interface Field {
  readonly engine: EtlEngine;
  readonly keys: KeyRing;
  ctx(): Context;
  put(name: string, content: string | Uint8Array): Promise<void>;
  /** Takes a whole file as `PUT /v1/uploads/name` does. */
  upload(name: string, content: string | Uint8Array): Promise<void>;
  /** Registers the next version; beside it there is `files`, over what is `put`. Hosts of this machine may be reached. */
  connection(definition: Record<string, unknown>): Promise<void>;
  /** Registers the next version. @returns its number */
  contract(name: string, properties: Record<string, unknown>, more?: Record<string, unknown>): Promise<number>;
  pipeline(name: string, more?: Record<string, unknown>): Promise<void>;
  start(pipeline: string, more?: Partial<StartRun>): Promise<Run>;
  drain(engine?: EtlEngine): Promise<Outcome[]>;
  /** A dataset's rows as its readers see them. */
  rows(dataset: string, columns: string): Promise<Record<string, unknown>[]>;
  /** Files of the object store, with what is half written. */
  objects(): Promise<string[]>;
}

export function useField(
  database: TestDatabase,
  bench: WorkerBench,
  agency: string,
  overrides: AgencyOverrides = {},
): Field {
  let folder: string;
  let engine: EtlEngine;
  let objects: ReturnType<typeof createFileStore>;
  const dataKey = Buffer.alloc(32, 7);
  const encryption = localKeyEncryption(dataKey);
  const keys = createKeyRing(encryption, { cacheMs: 0 });
  const api = () => apiDeps(database, { keys });
  const admin = (): Context => contextOf(database, agency, { role: 'admin', clearance: 5, api: api() });

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'flux field '));
    await mkdir(path.join(folder, 'sources'));
    objects = createFileStore({ folder: path.join(folder, 'objects'), dataKey });
    engine = createEtlEngine({
      ...codeFolder,
      objects,
      sourceRoots: { [agency]: [path.join(folder, 'sources')] },
      sourcePrivateHosts: { [agency]: ['127.0.0.1'] },
      saltOf: (of, name) => Buffer.from(`${of} ${name}`.padEnd(32, '.')),
    });
    await database.addAgency(agency, overrides);
    const { adminUrl, contextKey } = database;
    await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption });
    await field.connection({ name: 'files', kind: 'file', config: { roots: ['.'] } });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const field: Field = {
    get engine() {
      return engine;
    },
    keys,
    ctx: () => contextOf(database, agency, { api: api() }),
    put: (name, content) => writeFile(path.join(folder, 'sources', name), content),
    async upload(name, content) {
      const bytes = Buffer.from(content as string);
      const body = Readable.from([bytes]);
      const deps = { ...api(), objects, byteCountMax: 10_000_000 };
      await receiveUpload(deps, field.ctx(), { name, firstByte: 0, byteCount: bytes.length, sha256: null, body });
    },
    async connection(definition) {
      await registerConnection(admin().api, admin(), { definition: { title: 'Tested', ...definition }, ...asked });
    },
    async contract(name, properties, more = {}) {
      const document = {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        title: name,
        type: 'object',
        properties,
        ...more,
      };
      const { version } = await registerContract(admin().api, admin(), { name, document, ...asked });
      return version;
    },
    async pipeline(name, more = {}) {
      const definition = {
        name,
        title: name,
        contentType: 'text',
        useCase: 'research',
        destination: { type: 'postgres', dataset: name.replaceAll('-', '_'), mode: 'replace' },
        ...more,
      };
      await registerPipeline(admin().api, admin(), { definition, ...asked });
    },
    start: (pipeline, more = {}) =>
      startRun(admin().api, contextOf(database, agency, { api: api() }), {
        pipeline,
        payload: null,
        stage: null,
        dryRun: null,
        metadata: null,
        ...asked,
        ...more,
      }),
    drain: async (other = engine) => bench.drain(await bench.deps(other, { keys })),
    async rows(dataset, columns) {
      const names = columns.split(' ').map((name) => ident(name));
      const { rows } = await database.agencyPool(agency, 'ro').query<Record<string, unknown>>(sql`
        select ${names.slice(1).reduce((list, name) => sql`${list}, ${name}`, names[0] ?? sql``)}
        from ${ident(`lake_${agency}`, dataset)}
        order by _flux_record
      `);
      return rows;
    },
    async objects() {
      const found = await readdir(path.join(folder, 'objects'), { recursive: true }).catch(() => []);
      return found.sort();
    },
  };
  return field;
}
