/** The tamper matrix of the audit log: what an administrator with every right may try, and that it is seen and named. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { appendAudit } from '../../src/audit/append.ts';
import { CompactRange } from '../../src/audit/compact-range.ts';
import { databaseSource } from '../../src/audit/database-source.ts';
import { exportAudit, openExport } from '../../src/audit/export.ts';
import { hashLeaf } from '../../src/audit/merkle.ts';
import { createSigner, originOf, publicKeyOf, type TrustedKey } from '../../src/audit/signed-note.ts';
import { verifyAll, type WholeVerification } from '../../src/audit/verify-all.ts';
import { installationName } from '../../src/db/audit-sealing.ts';
import type { Connection } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { scratchAnchor, sealAll, testAuditKey } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const keys: TrustedKey[] = [{ publicKey: publicKeyOf(testAuditKey) }];
const rounds = 100;
const entryCount = 700; // two whole tiles and a part
let anchor: Awaited<ReturnType<typeof scratchAnchor>>;

const say = (agency: string, i: number): Promise<string> =>
  appendAudit(database.agencyPool(agency), {
    actor: `worker-${String(i)}`,
    role: 'worker',
    action: 'batch.commit',
    resourceType: 'run',
    success: true,
    after: { i },
  });

beforeAll(async () => {
  anchor = await scratchAnchor();
  for (const agency of ['nasa', 'noaa']) await database.addAgency(agency);
  for (let done = 0; done < entryCount; done += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => say('nasa', done + i)));
    await say('noaa', done);
    await sealAll(database, anchor);
  }
});
afterAll(() => anchor.remove());

/** What verification says after a change, made without triggers as only a superuser can, and then undone. */
async function after(
  change: (tx: Connection) => Promise<unknown>,
  anchored = anchor.read(),
  trusted = keys,
): Promise<WholeVerification> {
  const notes = await anchored;
  return database.admin().withConnection(async (tx) => {
    await tx.query(sql`begin`);
    try {
      await tx.query(sql`set local session_replication_role = replica`);
      await tx.query(sql`alter table flux.audit_entries drop constraint audit_entries_pkey`);
      await change(tx);
      return await verifyAll(await databaseSource(tx), notes, trusted);
    } finally {
      await tx.query(sql`rollback`);
    }
  });
}

const problemsOf = (result: WholeVerification, agency = 'nasa') =>
  result.agencies.find((one) => one.agency === agency)?.problems ?? [];
const anySeq = (most = entryCount): number => 1 + Math.floor(Math.random() * most);

/** Runs an attack at random places; each must be found, and the first bad number named, or a range that holds it. */
async function attack(change: (tx: Connection, seq: number) => Promise<unknown>, exact = true): Promise<void> {
  for (let i = 0; i < rounds; i += 1) {
    const seq = anySeq(entryCount - 1);
    const result = await after((tx) => change(tx, seq));
    expect(result.holds).toBe(false);
    const first = problemsOf(result)[0];
    expect(first, String(seq)).toBeDefined();
    if (exact) expect(first?.seq).toBe(seq);
    else {
      expect(first?.seq).toBeLessThanOrEqual(seq);
      expect(first?.throughSeq).toBeGreaterThanOrEqual(seq);
    }
  }
}

const editBody = (tx: Connection, seq: number) =>
  tx.query(sql`
    update flux.audit_entries
    set body = convert_to(replace(convert_from(body, 'UTF8'), '"success":true', '"success":false'), 'UTF8'),
      success = false
    where agency_id = 'nasa' and seq = ${seq}
  `);
const fixLeaf = (tx: Connection, seq: number) =>
  tx.query(sql`
    update flux.audit_entries set leaf_hash = sha256('\\x00'::bytea || body) where agency_id = 'nasa' and seq = ${seq}
  `);

/** Makes tiles and head anew from the entries, as somebody who knows the design would. */
async function fixTree(tx: Connection): Promise<void> {
  const { rows } = await tx.query<{ body: Buffer }>(
    sql`select body from flux.audit_entries where agency_id = 'nasa' order by seq`,
  );
  const range = new CompactRange();
  const tiles = new Map<string, { level: number; tile: number; hashes: Buffer[] }>();
  const place = (level: number, index: number, hash: Buffer): void => {
    const tile = Math.floor(index / 256);
    const key = `${String(level)}/${String(tile)}`;
    const known = tiles.get(key) ?? { level, tile, hashes: [] };
    tiles.set(key, known);
    known.hashes.push(hash);
  };
  for (const { body } of rows) {
    place(0, range.size, hashLeaf(body));
    range.append(hashLeaf(body), place);
  }
  await tx.query(sql`delete from flux.audit_tiles where agency_id = 'nasa'`);
  for (const { level, tile, hashes } of tiles.values()) {
    await tx.query(sql`insert into flux.audit_tiles values ('nasa', ${level}, ${tile}, ${Buffer.concat(hashes)})`);
  }
  await tx.query(
    sql`update flux.audit_heads set size = ${range.size}, peaks = ${range.peaks()} where agency_id = 'nasa'`,
  );
}

describe('an untouched log', () => {
  it('holds, also after it grew', async () => {
    const before = await after(() => Promise.resolve());
    expect(before).toMatchObject({ holds: true, problems: [] });
    await say('nasa', 0);
    await say('noaa', 0);
    await sealAll(database, anchor);
    const grown = await after(() => Promise.resolve());
    expect(grown.holds).toBe(true);
    expect(grown.agencies.map(({ size }) => size)).toEqual(before.agencies.map(({ size }) => size + 1));
  });
});

describe('verification finds and names', () => {
  it('an edited body', () => attack(editBody));

  it('an edited body with its leaf hash', () =>
    attack(async (tx, seq) => {
      await editBody(tx, seq);
      await fixLeaf(tx, seq);
    }));

  it('an edited body with its leaf hash, all tiles and the head, by the signed checkpoint', () =>
    attack(async (tx, seq) => {
      await editBody(tx, seq);
      await fixLeaf(tx, seq);
      await fixTree(tx);
    }, false));

  it('an entry deleted from the middle', () =>
    attack((tx, seq) => tx.query(sql`delete from flux.audit_entries where agency_id = 'nasa' and seq = ${seq}`)));

  it('an entry put in between, with all later numbers moved', () =>
    attack(async (tx, seq) => {
      await tx.query(sql`update flux.audit_entries set seq = seq + 1 where agency_id = 'nasa' and seq >= ${seq}`);
      await tx.query(sql`
        insert into flux.audit_entries
        select agency_id, ${seq}, flux.uuid_v7(), at, actor, role, action, resource_type, resource_id, success, error_code,
          body, leaf_hash, sealed_at
        from flux.audit_entries where agency_id = 'nasa' and seq = ${seq === 1 ? 3 : 1}
      `);
    }));

  it('a number that is there twice', async () => {
    for (let i = 0; i < rounds; i += 1) {
      const seq = anySeq();
      const result = await after((tx) =>
        tx.query(sql`
          insert into flux.audit_entries select * from flux.audit_entries where agency_id = 'nasa' and seq = ${seq}
        `),
      );
      expect(problemsOf(result)[0]).toMatchObject({ seq, what: 'the number is there twice' });
    }
  });

  it('two entries that changed places', () =>
    attack((tx, seq) =>
      tx.query(sql`
        update flux.audit_entries set seq = ${seq * 2 + 1}::bigint - seq
        where agency_id = 'nasa' and seq in (${seq}, ${seq + 1})
      `),
    ));

  it('a tail that was cut off with tiles and head, by what the anchor remembers', async () => {
    for (let i = 0; i < rounds; i += 1) {
      const seq = anySeq(entryCount - 1) + 1;
      const result = await after(async (tx) => {
        await tx.query(sql`delete from flux.audit_entries where agency_id = 'nasa' and seq >= ${seq}`);
        await tx.query(sql`delete from flux.audit_checkpoints where agency_id = 'nasa' and size >= ${seq}`);
        await fixTree(tx);
      });
      expect(problemsOf(result)[0]).toMatchObject({ seq, what: 'missing' });
      expect(result.problems).not.toEqual([]);
    }
  });

  it('an older backup in the database’s place', async () => {
    const result = await after(async (tx) => {
      await tx.query(sql`delete from flux.audit_entries where seq > 90`);
      await tx.query(sql`delete from flux.audit_checkpoints where size > 90`);
      await fixTree(tx);
      await tx.query(sql`delete from flux.audit_checkpoints where agency_id = 'nasa'`);
    });
    expect(problemsOf(result)[0]).toMatchObject({ seq: 91, what: 'missing' });
    expect(result.holds).toBe(false);
  });

  it('a whole agency that is gone', async () => {
    const result = await after(async (tx) => {
      await tx.query(sql`delete from flux.audit_entries where agency_id = 'noaa'`);
      await tx.query(sql`delete from flux.audit_tiles where agency_id = 'noaa'`);
      await tx.query(sql`delete from flux.audit_heads where agency_id = 'noaa'`);
      await tx.query(sql`delete from flux.audit_checkpoints where agency_id = 'noaa'`);
    });
    expect(result.holds).toBe(false);
    expect(problemsOf(result)).toEqual([]);
    expect(result.problems.join('\n')).toMatch(/agencies\/noaa was signed and is gone[^]*removed/);
  });

  it('an entry moved from one agency to another', () =>
    attack((tx, seq) =>
      tx.query(sql`
        update flux.audit_entries a set body = b.body, leaf_hash = b.leaf_hash, entry_id = b.entry_id, at = b.at
        from flux.audit_entries b
        where a.agency_id = 'nasa' and a.seq = ${seq} and b.agency_id = 'noaa' and b.seq = ${1 + (seq % 5)}
      `),
    ));

  it('a time that was moved by a microsecond, in the column or in the entry', async () => {
    await attack((tx, seq) =>
      tx.query(
        sql`update flux.audit_entries set at = at + interval '1 microsecond' where agency_id = 'nasa' and seq = ${seq}`,
      ),
    );
    await attack((tx, seq) =>
      tx.query(sql`
        update flux.audit_entries
        set at = at + interval '1 microsecond',
          body = convert_to(replace(convert_from(body, 'UTF8'), to_char(at at time zone 'UTC', 'US"Z"'),
            to_char((at + interval '1 microsecond') at time zone 'UTC', 'US"Z"')), 'UTF8')
        where agency_id = 'nasa' and seq = ${seq}
      `),
    );
  });

  it('a fork: two checkpoints of one size with different roots', async () => {
    const name = await installationName(database.admin());
    for (let i = 0; i < rounds; i += 1) {
      const { checkpoint } = (await anchor.read()).findLast((one) => one.checkpoint.origin.endsWith('/nasa')) ?? {};
      const other = createSigner(testAuditKey).sign({
        origin: originOf(name, 'nasa'),
        size: checkpoint?.size ?? 0,
        root: hashLeaf(Buffer.from(String(i))),
        at: new Date().toISOString(),
      });
      const result = await after((tx) =>
        tx.query(sql`
          update flux.audit_checkpoints set note = ${other} where agency_id = 'nasa' and size = ${checkpoint?.size}
        `),
      );
      expect(problemsOf(result).map(({ what }) => what)).toContainEqual(expect.stringContaining('fork'));
    }
  });

  it('a checkpoint of a wrong or an expired key', async () => {
    const name = await installationName(database.admin());
    const forged = createSigner(Buffer.alloc(32, 1)).sign({
      origin: originOf(name, 'nasa'),
      size: 101,
      root: Buffer.alloc(32),
      at: new Date().toISOString(),
    });
    const wrong = await after((tx) =>
      tx.query(sql`
        insert into flux.audit_checkpoints (agency_id, size, root, note, log_no)
        select 'nasa', 50, '\\x00'::bytea || substring(root from 2), ${forged}, log_no
        from flux.audit_checkpoints where agency_id = 'nasa' limit 1
      `),
    );
    expect(problemsOf(wrong)).toContainEqual({
      seq: 101,
      throughSeq: 101,
      what: 'no trusted key signed the checkpoint',
    });
    const expired = await after(() => Promise.resolve(), anchor.read(), [
      { publicKey: publicKeyOf(testAuditKey), until: new Date(0) },
    ]);
    expect(problemsOf(expired)[0]?.what).toBe('the checkpoint is signed by a key that had expired');
  });
});

describe('an export', () => {
  it('verifies without the database, and names what was changed in it', async () => {
    const folder = path.join(await mkdtemp(path.join(tmpdir(), 'flux-export-')), 'export');
    await database.admin().withConnection(async (connection) => {
      await connection.query(sql`begin`);
      await exportAudit(connection, folder);
      await connection.query(sql`rollback`);
    });
    const verify = async () => verifyAll(await openExport(folder), await anchor.read(), keys);
    expect(await verify()).toMatchObject({ holds: true });
    const file = path.join(folder, 'nasa', 'tile', 'entries', '1');
    const lines = (await readFile(file, 'utf8')).split('\n');
    const changed = async (text: string[]) => {
      await writeFile(file, text.join('\n'));
      return problemsOf(await verify())[0];
    };
    for (let i = 0; i < 20; i += 1) {
      const at = Math.floor(Math.random() * 255);
      const line = lines[at] ?? '';
      expect(await changed(lines.with(at, line.replace('"success":true', '"success":false')))).toMatchObject({
        seq: 257 + at,
      });
      expect(await changed(lines.toSpliced(at, 1))).toMatchObject({ seq: 257 + at });
    }
    await rm(path.dirname(folder), { recursive: true });
  });
});

describe('retention', () => {
  it('may prune what is signed, says so in the log, and the rest still verifies', async () => {
    const admin = database.admin();
    await expect(
      admin.query(sql`delete from flux.audit_entries where agency_id = 'nasa' and seq <= 300`),
    ).rejects.toMatchObject({ code: '42501' });
    await admin.query(sql`select flux.prune_audit('nasa', 300)`);
    await sealAll(database, anchor);
    const result = await after(() => Promise.resolve());
    expect(result).toMatchObject({ holds: true, problems: [] });
    const { rows } = await admin.query<{ first: bigint }>(
      sql`select min(seq) as first from flux.audit_entries where agency_id = 'nasa'`,
    );
    expect(rows).toEqual([{ first: 301n }]);
    await expect(admin.query(sql`select flux.prune_audit('nasa', 100000)`)).rejects.toMatchObject({ code: '22023' });
  });

  it('is not believed when no entry of the log says so', async () => {
    const result = await after(async (tx) => {
      await tx.query(sql`delete from flux.audit_entries where agency_id = 'nasa' and seq <= 400`);
      await tx.query(sql`update flux.audit_heads set pruned_through = 400 where agency_id = 'nasa'`);
    });
    expect(problemsOf(result)[0]).toMatchObject({ seq: 1, throughSeq: 400 });
  });
});
