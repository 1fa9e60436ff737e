import { type ExecutionResult, graphql, parse, subscribe } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { appendAudit } from '../../src/audit/append.ts';
import { verifyConsistency, verifyInclusion } from '../../src/audit/merkle.ts';
import { openNote, publicKeyOf } from '../../src/audit/signed-note.ts';
import type { Connection } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { apiDeps, type CallerOptions, contextOf } from '../support/api.ts';
import { scratchAnchor, sealAll, testAuditKey } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
let anchor: Awaited<ReturnType<typeof scratchAnchor>>;

const say = (agency: string, resourceId: string): Promise<string> =>
  inTenant(database.apiPool(), database.tenant(agency), (tx) =>
    appendAudit(tx, {
      actor: 'pat@example.gov',
      role: 'operator',
      action: 'run.start',
      resourceType: 'run',
      resourceId,
      success: true,
      reason: 'because',
      after: { n: 1 },
      ip: '192.0.2.7',
      userAgent: 'curl',
    }),
  );

/** The same object to whoever asks, but for some of its methods. */
function override<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      if (name in methods) return methods[name as keyof T];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

beforeAll(async () => {
  anchor = await scratchAnchor();
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  for (let i = 0; i < 10; i += 1) await say('nasa', `r-${String(i)}`);
  await say('noaa', 'secret');
  await sealAll(database, anchor);
});
afterAll(() => anchor.remove());

function context(agency: string, options: CallerOptions = {}) {
  const audit = { publicKey: publicKeyOf(testAuditKey), anchored: () => anchor.read() };
  return contextOf(database, agency, { role: 'admin', ...options, api: apiDeps(database, { audit }) });
}

async function ask(source: string, agency = 'nasa', options: CallerOptions = {}) {
  const { data, errors } = await graphql({ schema, source, contextValue: context(agency, options) });
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  return { data: data as Record<string, any>, errors };
}

describe('auditEntries', () => {
  it('pages through the agency’s own entries in the order of their numbers', async () => {
    const seen: string[] = [];
    let after = 'null';
    for (;;) {
      const { data, errors } = await ask(
        `{ auditEntries(first: 4, after: ${after}) { edges { node { seq resourceId } } pageInfo { hasNextPage endCursor } } }`,
      );
      expect(errors).toBeUndefined();
      const { edges, pageInfo } = data['auditEntries'];
      for (const { node } of edges) seen.push(`${node.seq} ${node.resourceId}`);
      if (!pageInfo.hasNextPage) break;
      after = `"${pageInfo.endCursor}"`;
    }
    expect(seen).toEqual(['1 nasa', ...Array.from({ length: 10 }, (_, i) => `${String(i + 2)} r-${String(i)}`)]);
  });

  it('filters by what the entry says', async () => {
    const count = async (filter: string): Promise<number> =>
      (
        (await ask(`{ auditEntries(filter: ${filter}) { edges { node { id } } } }`)).data['auditEntries']
          .edges as unknown[]
      ).length;
    expect(await count('{ resourceId: "r-3" }')).toBe(1);
    expect(await count('{ action: "run.start", actor: "pat@example.gov", resourceType: "run", success: true }')).toBe(
      10,
    );
    expect(await count('{ success: false }')).toBe(0);
    expect(await count('{ from: "2020-01-01T00:00:00Z", until: "2020-01-02T00:00:00Z" }')).toBe(0);
    expect(await count('{ resourceId: "secret" }')).toBe(0);
  });

  it('says where to go on also where no entry is left, in an empty log and in one that retention has emptied', async () => {
    await database.addAgency('epa');
    const endOf = async (args: string): Promise<{ edges: { node: { seq: string } }[]; end: string | null }> => {
      const { data, errors } = await ask(
        `{ auditEntries(${args}) { edges { node { seq } } pageInfo { endCursor } } }`,
        'epa',
      );
      expect(errors).toBeUndefined();
      const { edges, pageInfo } = data['auditEntries'];
      return { edges, end: pageInfo.endCursor };
    };
    const after = async (end: string | null): Promise<string[]> =>
      (await endOf(`after: "${String(end)}"`)).edges.map(({ node }) => node.seq);
    const empty = await endOf('last: 1');
    expect(empty).toEqual({ edges: [], end: expect.any(String) });
    expect(await endOf('first: 1')).toEqual(empty);
    await sealAll(database, anchor);
    expect(await after(empty.end)).toEqual(['1']);

    const whole = await endOf('last: 1');
    expect(await after(whole.end)).toEqual([]);
    expect((await endOf(`after: "${String(whole.end)}"`)).end).toBe(whole.end);
    expect(await endOf('last: 1, filter: { actor: "nobody" }')).toEqual({ edges: [], end: whole.end });
    expect((await endOf(`last: 1, before: "${String(whole.end)}"`)).end).toBeNull();

    const admin = database.admin();
    await admin.query(sql`update flux.audit_heads set pruned_through = size where agency_id = 'epa'`);
    await admin.query(sql`delete from flux.audit_entries where agency_id = 'epa'`);
    expect(await endOf('last: 1')).toEqual({ edges: [], end: whole.end });
    await say('epa', 'later');
    await sealAll(database, anchor);
    expect(await after(whole.end)).toEqual(['2']);
  });

  it('shows from where to those who watch security alone, and nothing to those who may not read the log', async () => {
    const query = `{ auditEntries(filter: { resourceId: "r-0" }) { edges { node { id reason after ip userAgent leafHash at } } } }`;
    const admin = (await ask(query)).data['auditEntries'].edges[0].node;
    expect(admin).toMatchObject({ reason: 'because', after: { n: 1 }, ip: '192.0.2.7', userAgent: 'curl' });
    const analyzer = await ask(query, 'nasa', { role: 'analyzer' });
    expect(analyzer.data['auditEntries'].edges[0].node).toMatchObject({ reason: 'because', ip: null, userAgent: null });
    expect(analyzer.errors).toHaveLength(2);
    for (const role of ['operator', 'viewer'] as const) {
      expect((await ask(query, 'nasa', { role })).errors?.[0]?.message).toContain('audit:read');
    }
    const byId = `{ node(id: "${admin.id}") { ... on AuditEntry { seq resourceId } } }`;
    expect((await ask(byId)).data['node']).toEqual({ seq: '2', resourceId: 'r-0' });
    expect((await ask(byId, 'noaa')).data['node']).toEqual({ seq: '2', resourceId: 'secret' });
  });
});

describe('proofs', () => {
  const hash = (text: string): Buffer => Buffer.from(text, 'base64');
  const hashes = (texts: string[]): Buffer[] => texts.map(hash);

  it('lead from each entry, and from each earlier size, to a root that the sealer signed', async () => {
    for (let seq = 1; seq <= 11; seq += 1) {
      const { data, errors } = await ask(`{
        inclusion: auditInclusionProof(seq: "${String(seq)}") { size leafHash hashes checkpoint }
        consistency: auditConsistencyProof(from: "${String(seq)}") { size hashes }
        older: auditInclusionProof(seq: "${String(seq)}", size: "${String(seq)}") { hashes leafHash }
        verifyAuditLog { holds entries signedSize firstBadSeq problems { seq message } }
      }`);
      expect(errors).toBeUndefined();
      const { inclusion, consistency, verifyAuditLog } = data;
      expect(verifyAuditLog).toEqual({ holds: true, entries: '11', signedSize: '11', firstBadSeq: null, problems: [] });
      const { checkpoint } = openNote(inclusion.checkpoint, [{ publicKey: publicKeyOf(testAuditKey) }]);
      const root = checkpoint?.root ?? Buffer.alloc(32);
      const claim = { index: seq - 1, size: Number(inclusion.size), leaf: hash(inclusion.leafHash), root };
      expect(verifyInclusion(claim, hashes(inclusion.hashes))).toBe(true);
      const { proofsOver } = await import('../../src/audit/proofs.ts');
      const leaves = await Promise.all(
        Array.from({ length: 11 }, async (_, i) =>
          hash(
            (await ask(`{ auditInclusionProof(seq: "${String(i + 1)}") { leafHash } }`)).data['auditInclusionProof']
              .leafHash,
          ),
        ),
      );
      const root1 = await proofsOver(() => Promise.resolve(Buffer.concat(leaves))).rootAt(seq);
      expect(verifyConsistency({ size1: seq, root1, size2: 11, root2: root }, hashes(consistency.hashes))).toBe(true);
    }
  });

  it('are refused beyond what is signed', async () => {
    for (const field of [
      'auditInclusionProof(seq: "12")',
      'auditInclusionProof(seq: "0")',
      'auditConsistencyProof(from: "1", to: "12")',
    ]) {
      expect((await ask(`{ ${field} { size } }`)).errors?.[0]?.message).toContain('11 entries now');
    }
  });
});

describe('verifyAuditLog', () => {
  it('sees what the anchor remembers and the database has lost', async () => {
    const other = await scratchAnchor();
    const { createSigner } = await import('../../src/audit/signed-note.ts');
    const origin =
      (await anchor.read()).find(({ checkpoint }) => checkpoint.origin.endsWith('/nasa'))?.checkpoint.origin ?? '';
    await other.append([createSigner(testAuditKey).sign({ origin, size: 20, root: Buffer.alloc(32), at: 'then' })]);
    const api = apiDeps(database, { audit: { publicKey: publicKeyOf(testAuditKey), anchored: () => other.read() } });
    const { data } = await graphql({
      schema,
      source: '{ verifyAuditLog { holds firstBadSeq problems { seq throughSeq message } } }',
      contextValue: contextOf(database, 'nasa', { role: 'admin', api }),
    });
    expect(data?.['verifyAuditLog']).toEqual({
      holds: false,
      firstBadSeq: '12',
      problems: [{ seq: '12', throughSeq: '20', message: 'missing' }],
    });
    await other.remove();
  });
});

describe('auditEntryAdded', () => {
  it('delivers after a cursor what stands, and then each entry as it is sealed', async () => {
    const { data } = await ask('{ auditEntries(first: 9) { pageInfo { endCursor } } }');
    const stream = (await subscribe({
      schema,
      document: parse(
        `subscription { auditEntryAdded(after: "${data['auditEntries'].pageInfo.endCursor}") { seq resourceId } }`,
      ),
      contextValue: context('nasa'),
    })) as AsyncGenerator<ExecutionResult, void, void>;
    const next = async () => ((await stream.next()).value as ExecutionResult).data?.['auditEntryAdded'];
    expect(await next()).toMatchObject({ seq: '10' });
    expect(await next()).toMatchObject({ seq: '11' });
    const live = next();
    await say('noaa', 'theirs');
    await say('nasa', 'mine');
    await sealAll(database, anchor);
    expect(await live).toEqual({ seq: '12', resourceId: 'mine' });
    await stream.return();
  });
});

describe('verifyAuditLog beside the sealer', () => {
  it('is of one moment: what is sealed while it reads is not taken for a break', async () => {
    const anchored = (): ReturnType<typeof anchor.read> => anchor.read();
    const api = apiDeps(database, { audit: { publicKey: publicKeyOf(testAuditKey), anchored } });
    const { data: before } = await ask('{ verifyAuditLog { entries } }');
    let sealedMeanwhile = 0;
    const { pool } = api;
    const sealingBehindHeads = (connection: Connection): Connection =>
      override(connection, {
        async query(statement) {
          const answer = await connection.query(statement);
          if (statement.strings.join('').includes('flux.audit_heads')) {
            await say('nasa', 'meanwhile');
            await sealAll(database, anchor);
            sealedMeanwhile += 1;
          }
          return answer as never;
        },
      });
    api.pool = override(pool, {
      withConnection: (work, signal) =>
        pool.withConnection((connection) => work(sealingBehindHeads(connection)), signal),
    });
    const { data, errors } = await graphql({
      schema,
      source: '{ verifyAuditLog { holds entries problems { seq message } } }',
      contextValue: contextOf(database, 'nasa', { role: 'admin', api }),
    });
    expect(errors).toBeUndefined();
    expect(data?.['verifyAuditLog']).toEqual({ holds: true, entries: before['verifyAuditLog'].entries, problems: [] });
    expect(sealedMeanwhile).toBe(1);
  });
});
