import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { graphql } from 'graphql';
import { afterAll, beforeAll, expect } from 'vitest';

import type { ApiDeps } from '../../resolvers/context.ts';
import { schema } from '../../schema/schema.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { ensureKeys, type KeyOperator } from '../../src/domain/manage-keys.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { registerContract } from '../../src/domain/register-contract.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { toFluxError } from '../../src/errors.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { type KeyEncryption, localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createKeyRing, type KeyRing } from '../../src/keys/key-ring.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { apiDeps, type CallerOptions, connectionDocument, contextOf, pipelineDocument } from './api.ts';
import type { TestDatabase } from './database.ts';
import { useWorkerBench } from './worker.ts';
import { codeFolder } from './code-folder.ts';

export const testDataKey = Buffer.alloc(32, 0x5a);

/** An installation that seals: two agencies with data keys, an object store, an engine, an API. */
export interface SealedBench {
  readonly folder: string;
  readonly objects: string;
  readonly operator: KeyOperator;
  keyRing(options?: { encryption?: KeyEncryption; seals?: boolean; cacheMs?: number }): KeyRing;
  engine(options?: { segmentBytes?: number }): EtlEngine;
  /** Writes a source file of an agency and registers a pipeline over it. */
  addPipeline(agency: string, name: string, file: string, content: string, more?: { contract?: object }): Promise<void>;
  /** Starts a run as the API does, and works all that there is to work. @returns its id */
  run(
    agency: string,
    pipeline: string,
    more?: { metadata?: unknown; keys?: KeyRing; input?: { stage?: string; dryRun?: boolean } },
  ): Promise<string>;
  /** Works all that there is to work now. */
  drain(keys: KeyRing): Promise<void>;
  ask(agency: string, query: string, variables?: object, options?: CallerOptions & { keys?: KeyRing }): Promise<Answer>;
  /** Files of the object store. */
  objectFiles(agency?: string): Promise<string[]>;
  /** Tables of database schema flux, and files of the store, that hold a text, plain or as the bytes of it. */
  holdersOf(text: string): Promise<string[]>;
}

export interface Answer {
  data?: Record<string, any> | null; // eslint-disable-line @typescript-eslint/no-explicit-any -- the tests' assertions are its check
  errors?: readonly { message: string; code: string }[];
}

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Person',
  type: 'object',
  properties: { year: { type: 'integer' }, note: { type: 'string' } },
  required: ['year'],
  additionalProperties: false,
};

export function useSealedBench(database: TestDatabase, agencies: readonly string[]): SealedBench {
  const worker = useWorkerBench(database);
  let folder = '';
  const encryption = localKeyEncryption(testDataKey);
  let keys: KeyRing;

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'flux sealed '));
    for (const agency of agencies) {
      await mkdir(path.join(folder, 'sources', agency), { recursive: true });
      await database.addAgency(agency);
    }
    expect(await ensureKeys(bench.operator)).toEqual([...agencies].sort());
    keys = bench.keyRing();
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const api = (ring: KeyRing): ApiDeps => apiDeps(database, { keys: ring });
  const bench: SealedBench = {
    get folder() {
      return folder;
    },
    get objects() {
      return path.join(folder, 'objects');
    },
    get operator() {
      const { adminUrl, contextKey } = database;
      return { adminUrl, contextKey, actor: 'operator:test', encryption };
    },
    keyRing: ({ encryption: other = encryption, seals = true, cacheMs = 0 } = {}) =>
      createKeyRing(other, { seals, cacheMs }),
    engine: (options = {}) =>
      createEtlEngine({
        ...codeFolder,
        objects: createFileStore({ folder: bench.objects, dataKey: testDataKey, ...options }),
        sourceRoots: Object.fromEntries(agencies.map((agency) => [agency, [path.join(folder, 'sources', agency)]])),
        sourcePrivateHosts: Object.fromEntries(agencies.map((agency) => [agency, ['127.0.0.1']])),
      }),
    async addPipeline(agency, name, file, content, more = {}) {
      await writeFile(path.join(folder, 'sources', agency, file), content);
      const caller = contextOf(database, agency, { api: api(keys) });
      const asked = { reason: null, idempotencyKey: null };
      await registerConnection(caller.api, caller, { definition: connectionDocument, ...asked });
      await registerContract(caller.api, caller, { name: 'person', document: contract, ...asked });
      const definition = pipelineDocument(name, {
        source: { connection: 'files', path: file, format: { type: file.endsWith('.ndjson') ? 'ndjson' : 'csv' } },
        contract: { name: 'person', version: 1, ...(more.contract ?? { maxRejectedRatio: 1 }) },
        destination: { type: 'postgres', dataset: name, mode: 'replace' },
        batch: { records: 50 },
      });
      await registerPipeline(caller.api, caller, { definition, ...asked });
    },
    async run(agency, pipeline, { metadata = {}, keys: ring = keys, input = {} } = {}) {
      const query = `mutation ($input: StartRunInput!) { startRun(input: $input) { __typename ... on Run { runId } ... on Error { message } } }`;
      const { data, errors } = await bench.ask(
        agency,
        query,
        { input: { pipeline, metadata, ...input } },
        { keys: ring },
      );
      expect(errors).toBeUndefined();
      const started = data?.['startRun'] as { runId?: string };
      if (started.runId === undefined) throw new Error(`no run was started: ${JSON.stringify(started)}`);
      await bench.drain(ring);
      return started.runId;
    },
    async drain(ring) {
      await worker.drain(await worker.deps(bench.engine(), { keys: ring }));
    },
    async ask(agency, query, variables = {}, { keys: ring = keys, ...options } = {}) {
      const contextValue = contextOf(database, agency, { ...options, api: api(ring) });
      const { data, errors } = await graphql({ schema, source: query, variableValues: { ...variables }, contextValue });
      // The server's formatting is the transports' affair; here the failure itself tells its code.
      const codes = errors?.map(({ message, originalError }) => ({ message, code: toFluxError(originalError).code }));
      return { data: data ?? null, ...(codes ? { errors: codes } : {}) };
    },
    async objectFiles(agency) {
      const root = agency === undefined ? bench.objects : path.join(bench.objects, agency);
      const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
      return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    },
    async holdersOf(text) {
      const holders: string[] = [];
      for (const file of await bench.objectFiles()) if ((await readFile(file)).includes(text)) holders.push(file);
      const admin = database.admin();
      const { rows: tables } = await admin.query<{ name: string }>(sql`
        select c.relname::text as name from pg_class c
        where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      `);
      const hex = Buffer.from(text).toString('hex');
      for (const { name } of tables) {
        const { rows } = await admin.query<{ n: number }>(sql`
          select count(*)::int as n from flux.${ident(name)} t
          where position(${text} in t::text) > 0 or position(${hex} in t::text) > 0
        `);
        if ((rows[0]?.n ?? 0) > 0) holders.push(`flux.${name}`);
      }
      return holders;
    },
  };
  return bench;
}
