import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { appendAudit } from '../../src/audit/append.ts';
import { CompactRange } from '../../src/audit/compact-range.ts';
import { databaseSource } from '../../src/audit/database-source.ts';
import { exportAudit, openExport } from '../../src/audit/export.ts';
import { loadLedger } from '../../src/audit/ledger.ts';
import { hashLeaf } from '../../src/audit/merkle.ts';
import { step, startSealer } from '../../src/audit/sealer.ts';
import { openNote, publicKeyOf } from '../../src/audit/signed-note.ts';
import { verifyAll } from '../../src/audit/verify-all.ts';
import { leadAudit } from '../../src/db/audit-sealing.ts';
import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { scratchAnchor, sealAll, testAuditKey } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
let anchor: Awaited<ReturnType<typeof scratchAnchor>>;

beforeAll(async () => {
  anchor = await scratchAnchor();
  await database.addAgency('bls');
  await database.addAgency('faa');
});
afterAll(() => anchor.remove());

const say = (agency: string, action = 'run.start'): Promise<string> =>
  appendAudit(database.agencyPool(agency), { actor: 'w', role: 'worker', action, resourceType: 'run', success: true });

interface Row {
  seq: bigint;
  entry_id: string;
  body: Buffer;
  leaf_hash: Buffer;
}
const sealedOf = async (agency: string): Promise<Row[]> =>
  (
    await database
      .admin()
      .query<Row & Record<string, unknown>>(
        sql`select * from flux.audit_entries where agency_id = ${agency} order by seq`,
      )
  ).rows;

describe('the sealer', () => {
  it('numbers each agency’s entries from 1 without holes, in the order in which they came', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 30; i += 1) ids.push(await say('bls'));
    await say('faa');
    expect(await sealAll(database, anchor)).toEqual([]);
    const rows = await sealedOf('bls');
    expect(rows.map(({ seq }) => Number(seq))).toEqual(rows.map((_, i) => i + 1));
    expect(rows.slice(1).map(({ entry_id }) => entry_id)).toEqual(ids);
    expect((await sealedOf('faa')).map(({ seq }) => seq)).toEqual([1n, 2n]);
    expect((await database.admin().query(sql`select from flux.audit_inbox`)).rowCount).toBe(0);
  });

  it('signs heads that hash from the stored bytes, in the database and in the anchor', async () => {
    await say('bls');
    await sealAll(database, anchor);
    const range = new CompactRange();
    for (const { body, leaf_hash } of await sealedOf('bls')) {
      expect(hashLeaf(body).equals(leaf_hash)).toBe(true);
      range.append(hashLeaf(body));
    }
    const { rows } = await database
      .admin()
      .query<{ note: string; size: bigint }>(
        sql`select note, size from flux.audit_checkpoints where agency_id = 'bls' order by size desc limit 1`,
      );
    const { note = '', size } = rows[0] ?? {};
    const opened = openNote(note, [{ publicKey: publicKeyOf(testAuditKey) }]);
    expect(opened).not.toHaveProperty('problem');
    expect(opened.checkpoint?.size).toBe(Number(size));
    expect(opened.checkpoint?.root.equals(range.root())).toBe(true);
    expect((await anchor.read()).map((entry) => entry.note)).toContain(note);
  });

  it('works one at a time: a second waits, and one that lost its lease writes nothing', async () => {
    const url = database.urlFor(database.roles.sealer);
    const [old, heir] = [await connect({ url, applicationName: 'a' }), await connect({ url, applicationName: 'b' })];
    try {
      const epoch = (await leadAudit(old, { sealer: 'old', epoch: null, leaseMs: 60_000 })) as bigint;
      expect(await leadAudit(heir, { sealer: 'heir', epoch: null, leaseMs: 60_000 })).toBeNull();
      const log = { error: () => undefined };
      const ledger = await loadLedger(old, { auditKey: testAuditKey, anchor, log });
      await leadAudit(old, { sealer: 'old', epoch, leaseMs: 0 });
      const next = await leadAudit(heir, { sealer: 'heir', epoch: null, leaseMs: 60_000 });
      expect(next).toBe(epoch + 1n);
      await say('bls');
      const before = await sealedOf('bls');
      await expect(step(old, epoch, ledger, { anchor }, true)).rejects.toMatchObject({ code: 'FX003' });
      expect(await sealedOf('bls')).toEqual(before);
      const own = await loadLedger(heir, { auditKey: testAuditKey, anchor, log });
      await step(heir, next as bigint, own, { anchor }, true);
      expect(await sealedOf('bls')).toHaveLength(before.length + 1);
      // Even with the right epoch nothing grows from a head that is not the present one.
      await say('bls');
      await expect(step(heir, next as bigint, ledger, { anchor }, true)).rejects.toMatchObject({
        code: expect.stringMatching(/FX004|23505/) as string,
      });
      await leadAudit(heir, { sealer: 'heir', epoch: next, leaseMs: 0 });
    } finally {
      await Promise.all([old.end(), heir.end()]);
    }
  });

  it('runs beside the writers, seals what they leave, and stops with an empty inbox', async () => {
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const options = { databaseUrl: database.urlFor(database.roles.sealer), auditKey: testAuditKey, anchor, log };
    const sealers = [startSealer({ ...options, pollMs: 10 }), startSealer({ ...options, pollMs: 10 })];
    const before = (await sealedOf('faa')).length;
    await Promise.all(Array.from({ length: 300 }, () => say('faa')));
    await expect.poll(async () => (await sealedOf('faa')).length, { timeout: 10_000 }).toBe(before + 300);
    await Promise.all(sealers.map((sealer) => sealer.stop()));
    expect((await sealedOf('faa')).map(({ seq }) => Number(seq))).toEqual(
      Array.from({ length: before + 300 }, (_, i) => i + 1),
    );
  });

  it('goes on under another algorithm, and the whole log verifies with the keys of both, from the database and an export', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'flux-export-'));
    try {
      await say('faa');
      expect(await sealAll(database, anchor, 'ecdsa-p256')).toEqual([]);
      const [before, now] = (['ed25519', 'ecdsa-p256'] as const).map((algorithm) => ({
        publicKey: publicKeyOf(testAuditKey, algorithm),
      }));
      const notes = await anchor.read();
      const verdicts = await database.admin().withConnection((connection) =>
        inTransaction(connection, async (tx) => {
          await exportAudit(tx, path.join(folder, 'export'));
          const exported = async () => openExport(path.join(folder, 'export'));
          return {
            both: await verifyAll(await databaseSource(tx), notes, [now!, before!]),
            exported: await verifyAll(await exported(), notes, [now!, before!]),
            alone: await verifyAll(await exported(), notes, [now!]),
          };
        }),
      );
      expect(verdicts.both).toMatchObject({ holds: true, problems: [] });
      expect(verdicts.exported).toMatchObject({ holds: true, problems: [] });
      // What the first key signed is not believed without it.
      expect(verdicts.alone).toMatchObject({ holds: false });
      // And back again.
      await say('faa');
      expect(await sealAll(database, anchor)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('refuses to go on with a log that contradicts the anchor, and still serves the others', async () => {
    const elsewhere = await scratchAnchor();
    const notes = (await anchor.read()).map(({ note }) => note);
    const { createSigner } = await import('../../src/audit/signed-note.ts');
    const origin = (await anchor.read()).find(({ checkpoint }) => checkpoint.origin.endsWith('/bls'))?.checkpoint
      .origin;
    const forged = createSigner(testAuditKey).sign({
      origin: origin ?? '',
      size: 9_999,
      root: Buffer.alloc(32),
      at: 'x',
    });
    await elsewhere.append([...notes, forged]);
    await say('bls');
    await say('faa');
    const [bls, faa] = [(await sealedOf('bls')).length, (await sealedOf('faa')).length];
    expect(await sealAll(database, elsewhere)).toContainEqual(expect.objectContaining({ agency: 'bls' }));
    expect([(await sealedOf('bls')).length, (await sealedOf('faa')).length]).toEqual([bls, faa + 1]);
    await elsewhere.remove();
  });
});

describe('what is sealed', () => {
  it.each([
    () => sql`update flux.audit_entries set actor = 'x'`,
    () => sql`delete from flux.audit_entries`,
    () => sql`truncate flux.audit_entries`,
    () => sql`update flux.audit_checkpoints set note = ''`,
    () => sql`delete from flux.audit_checkpoints`,
    () => sql`delete from flux.audit_heads`,
    () => sql`update flux.audit_heads set size = size - 1`,
    () => sql`delete from flux.audit_tiles`,
    () => sql`update flux.audit_tiles set hashes = decode(repeat('00', 32), 'hex')`,
  ])('is kept from a superuser’s ordinary statements (%#)', async (statement) => {
    await expect(database.admin().query(statement())).rejects.toMatchObject({ code: '42501' });
  });
});
