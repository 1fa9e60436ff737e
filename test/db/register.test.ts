import { createHash } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import { connections } from '../../resolvers/connection.ts';
import type { Context } from '../../resolvers/context.ts';
import { comparison, contract, contracts } from '../../resolvers/contract.ts';
import { pipeline, pipelines } from '../../resolvers/pipeline.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { registerContract } from '../../src/domain/register-contract.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { updateAgency } from '../../src/domain/update-agency.ts';
import { auditOf, connectionDocument, contextOf, contractDocument, pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const asked = { reason: null, idempotencyKey: null };

async function agencyWithConnection(slug: string): Promise<Context> {
  await database.addAgency(slug, {
    supportedUseCases: ['research'],
    supportedContentTypes: ['text'],
    dataClassification: 2,
  });
  const admin = contextOf(database, slug, { role: 'admin', clearance: 5 });
  await registerConnection(admin.api, admin, { definition: connectionDocument, ...asked });
  await registerContract(admin.api, admin, { name: 'reading', document: contractDocument, ...asked });
  return admin;
}

function register(ctx: Context, definition: unknown, more = asked): ReturnType<typeof registerPipeline> {
  return registerPipeline(ctx.api, ctx, { definition, ...more });
}

describe('registering a connection', () => {
  it('creates it, and gives it the next version when it changes', async () => {
    const admin = await agencyWithConnection('noaa');
    const changed = { ...connectionDocument, title: 'Other files', config: { roots: ['weather'] } };
    const second = await registerConnection(admin.api, admin, { definition: changed, ...asked });
    expect(second).toMatchObject({ name: 'files', title: 'Other files', config: { roots: ['weather'] }, version: 2n });
    const entries = (await auditOf(database, 'noaa')).filter(({ action }) => action === 'connection.register');
    expect(entries.at(-1)?.body).toMatchObject({
      before: { version: '1', title: 'Files' },
      after: { version: '2', title: 'Other files' },
    });
  });

  it('refuses what is no connection, and records the refusal under the name that it gave itself', async () => {
    const admin = await agencyWithConnection('usda');
    const definition = { name: 'bucket', kind: 's3', config: {} };
    await expect(registerConnection(admin.api, admin, { definition, ...asked })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
    expect((await auditOf(database, 'usda')).at(-1)).toMatchObject({
      success: false,
      error_code: 'INVALID_INPUT',
      resource_id: 'bucket',
    });
  });

  it('gives the first result again under the same key', async () => {
    const admin = await agencyWithConnection('epa');
    const once = { definition: connectionDocument, reason: null, idempotencyKey: 'k' };
    const first = await registerConnection(admin.api, admin, once);
    expect(await registerConnection(admin.api, admin, once)).toEqual(first);
  });
});

describe('registering a contract', () => {
  it('says what the next version changes, and whether it is compatible', async () => {
    const admin = await agencyWithConnection('census');
    const first = await contract(admin, { name: 'reading' });
    if (!first) throw new Error('the contract is not there');
    expect(await comparison(admin, first)).toBeNull();
    const document = { ...contractDocument, required: ['missing-before'], description: 'Stricter.' };
    const second = await registerContract(admin.api, admin, { name: 'reading', document, ...asked });
    const told = await comparison(admin, second);
    expect(told).toMatchObject({ previousVersion: 1, compatible: false });
    expect(told?.changes).toContainEqual(
      expect.objectContaining({ path: '/missing-before', keyword: 'required', kind: 'ADDED', breaking: true }),
    );
    expect((await auditOf(database, 'census')).at(-1)?.body).toMatchObject({
      after: { version: 2, compatible: false },
    });
  });

  it('makes each registration the next immutable version, kept as canonical bytes', async () => {
    const admin = await agencyWithConnection('nasa');
    const second = await registerContract(admin.api, admin, {
      name: 'reading',
      document: contractDocument,
      reason: null,
      idempotencyKey: 'v2',
    });
    expect(second.version).toBe(2);
    expect(JSON.parse(second.document)).toEqual(contractDocument);
    expect(second.sha256).toEqual(createHash('sha256').update(second.document).digest());
    const again = await registerContract(admin.api, admin, {
      name: 'reading',
      document: contractDocument,
      reason: null,
      idempotencyKey: 'v2',
    });
    expect(again).toEqual(second);
    expect((await contract(admin, { name: 'reading' }))?.version).toBe(2);
    expect((await contract(admin, { name: 'reading', version: 1 }))?.version).toBe(1);
  });

  it('gives versions without holes when several register at once', async () => {
    const admin = await agencyWithConnection('doe');
    const made = await Promise.all(
      Array.from({ length: 5 }, () =>
        registerContract(admin.api, admin, { name: 'many', document: contractDocument, ...asked }),
      ),
    );
    expect(made.map(({ version }) => version).sort()).toEqual([1, 2, 3, 4, 5]);
    const page = await contracts(admin, { first: 3 });
    expect(page.edges.map(({ node }) => node.version)).toEqual([5, 4, 3]);
    const rest = await contracts(admin, { first: 3, after: page.pageInfo.endCursor });
    expect(rest.edges.map(({ node }) => `${node.name}@${String(node.version)}`)).toEqual([
      'many@2',
      'many@1',
      'reading@1',
    ]);
    expect(rest.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
  });

  it.each([
    [
      'a document that does not compile',
      { name: 'broken', document: { ...contractDocument, properties: { year: { type: 'year' } } } },
      'CONTRACT_INVALID',
    ],
    ['no document', { name: 'broken', document: null }, 'CONTRACT_INVALID'],
    ['a name that does not fit', { name: 'No Name', document: contractDocument }, 'INVALID_INPUT'],
  ])('refuses %s', async (_what, input, code) => {
    const admin = contextOf(database, 'nasa', { role: 'admin' });
    await expect(registerContract(admin.api, admin, { ...input, ...asked })).rejects.toMatchObject({ code });
    expect((await auditOf(database, 'nasa')).at(-1)).toMatchObject({ success: false, error_code: code });
    expect(await contract(admin, { name: input.name })).toBeNull();
  });
});

describe('registering a pipeline', () => {
  let faa: Context;
  beforeAll(async () => {
    faa = await agencyWithConnection('faa');
  });

  it('keeps the definition with its defaults written out, each registration a new version', async () => {
    const first = await register(faa, pipelineDocument());
    const second = await register(faa, pipelineDocument('readings', { title: 'Newer' }));
    expect(first).toMatchObject({
      version: 1,
      classification: 0,
      connectionName: 'files',
      contractName: 'reading',
      enabled: true,
    });
    expect(JSON.parse(first.definition)).toMatchObject({
      batch: { records: 100_000 },
      transforms: [],
      schedule: null,
      classification: 'U',
    });
    expect((await pipeline(faa, { name: 'readings' }))?.title).toBe(second.title);
    expect((await pipeline(faa, { name: 'readings', version: 1 }))?.title).toBe('Pipeline readings');
    const page = await pipelines(faa, {});
    expect(page.edges.map(({ node }) => [node.name, node.version])).toEqual([['readings', 2]]);
    expect((await auditOf(database, 'faa')).at(-1)?.body).toMatchObject({
      resourceId: 'readings@2',
      before: { version: 1 },
      after: { version: 2 },
    });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      'a connection that is not there',
      { source: { connection: 'other', path: 'x', format: { type: 'csv' } } },
      /Registered are: files/,
    ],
    ['a contract version that is not there', { contract: { name: 'reading', version: 9 } }, /newest version is 1/],
    ['a contract that is not there', { contract: { name: 'other', version: 1 } }, /No contract of that name/],
    ['a use case that the agency does not support', { useCase: 'vr' }, /supported: research/],
    ['a content type that the agency does not support', { contentType: 'images' }, /supported: text/],
    ['a classification that the agency does not hold', { classification: 'S' }, /supported: U, CUI, C/],
    ['a use case that does not exist', { useCase: 'fun' }, /useCase/],
    ['a format that does not exist', { source: { connection: 'files', path: 'x', format: { type: 'orc' } } }, /format/],
    ['a transform that is not offered', { transforms: [{ type: 'deduplicate', columns: ['a'] }] }, /./],
    ['a schedule', { schedule: '0 * * * *' }, /offered/],
    [
      'a path that leaves the connection',
      { source: { connection: 'files', path: '../x', format: { type: 'csv' } } },
      /path/,
    ],
  ])('refuses %s', async (_what, more, message) => {
    await expect(register(faa, pipelineDocument('refused', more))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(message) as string,
    });
    expect(await pipeline(faa, { name: 'refused' })).toBeNull();
    expect((await auditOf(database, 'faa')).at(-1)).toMatchObject({
      action: 'pipeline.register',
      success: false,
      resource_id: 'refused',
    });
  });

  it('lets nobody classify above the own clearance, nor take the name of what is above it', async () => {
    await register(faa, pipelineDocument('guarded', { classification: 'C' }));
    const operator = contextOf(database, 'faa');
    await expect(register(operator, pipelineDocument('mine', { classification: 'CUI' }))).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    await expect(register(operator, pipelineDocument('guarded'))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: 'The name guarded cannot be used. Choose another.',
    });
    expect(await pipeline(operator, { name: 'guarded' })).toBeNull();
  });

  it('shows one agency nothing of another', async () => {
    const other = await agencyWithConnection('gsa');
    expect((await pipelines(other, {})).edges).toEqual([]);
    expect((await connections(other, {})).edges).toHaveLength(1);
    expect(await pipeline(other, { name: 'readings' })).toBeNull();
  });
});

describe('changing the own agency', () => {
  beforeAll(() => database.addAgency('bts', { retentionDays: 100, retentionFloorDays: 50 }));
  const change = (more: object): ReturnType<typeof updateAgency> => {
    const admin = contextOf(database, 'bts', { role: 'admin' });
    return updateAgency(admin.api, admin, { name: null, abbreviation: null, retentionDays: null, ...asked, ...more });
  };

  it('changes what is given and leaves the rest', async () => {
    const agency = await change({ name: 'Bureau', retentionDays: 200, idempotencyKey: 'once' });
    expect(agency).toMatchObject({ name: 'Bureau', abbreviation: 'BTS', retentionDays: 200, version: 2n });
    expect(await change({ name: 'Bureau', retentionDays: 200, idempotencyKey: 'once' })).toMatchObject({ version: 2n });
  });

  it('shortens the retention with a reason only, and never below the floor', async () => {
    await expect(change({ retentionDays: 60 })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/reason/) as string,
    });
    await expect(change({ retentionDays: 10, reason: 'space' })).rejects.toMatchObject({
      message: expect.stringMatching(/at least 50/) as string,
    });
    expect(await change({ retentionDays: 60, reason: 'space' })).toMatchObject({ retentionDays: 60 });
    expect(await change({ retentionDays: 0 })).toMatchObject({ retentionDays: 0 });
    await expect(change({ retentionDays: -1 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(change({ name: ' ' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });
});
