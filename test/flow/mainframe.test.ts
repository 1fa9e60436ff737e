import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requireOffered } from '../../src/contracts/offered.ts';
import { validatePipelineDefinition } from '../../src/contracts/documents.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { useDatabase } from '../support/database.ts';
import { useWorkerBench } from '../support/worker.ts';
import { ebcdic, packed } from '../unit/etl/mainframe/encode.ts';
import { codeFolder } from '../support/code-folder.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'ssa';
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux mainframe '));
  await database.addAgency(agency);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const definition = {
  name: 'payments',
  title: 'Payments',
  contentType: 'text',
  useCase: 'research',
  source: {
    connection: 'files',
    path: 'payments.ebc',
    format: {
      type: 'mainframe',
      copybook: '01 PAYMENT. 05 PAY-ID PIC 9(6). 05 PAY-AMOUNT PIC S9(7)V99 COMP-3. 05 PAYEE PIC X(10).',
      codePage: 'cp1047',
    },
  },
  contract: { name: 'payment', version: 1, maxRejectedRatio: 0.01 },
  destination: { type: 'postgres', dataset: 'payments', mode: 'replace' },
  batch: { records: 300 },
};

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Payment',
  type: 'object',
  required: ['PAY-ID', 'PAY-AMOUNT', 'PAYEE'],
  additionalProperties: false,
  properties: {
    'PAY-ID': { type: 'integer' },
    'PAY-AMOUNT': { type: 'number', minimum: -50 },
    PAYEE: { type: 'string' },
  },
};

/** Record 10 is below the contract's minimum, record 1500 is no packed decimal. */
function payments(): Buffer {
  const records = Array.from({ length: 2000 }, (_each, at) => {
    const number = at + 1;
    const digits = String(number === 10 ? 99_999 : number).padStart(9, '0');
    const record = Buffer.concat([
      ebcdic(String(number).padStart(6, '0')),
      packed({ digits, negative: number % 2 === 0 }, true),
      ebcdic('Payee'.padEnd(10)),
    ]);
    if (number === 1500) record.fill(0x40, 6, 11);
    return record;
  });
  return Buffer.concat(records);
}

async function register(): Promise<void> {
  requireOffered(validatePipelineDefinition(definition));
  await inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
    await tx.query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by)
      values (${agency}, 'files', 'file', '{"roots": ["."]}', 'test')
    `);
    await tx.query(sql`
      insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
      values (${agency}, 'payment', 1, ${JSON.stringify(contract)}, ${Buffer.alloc(32)}, 'test')
    `);
    await tx.query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
        contract_version, connection_name, definition, sha256, created_by)
      values (${agency}, 'payments', 1, 'payments', 'text', 'research', 0, 'payment', 1, 'files',
        ${JSON.stringify(definition)}, ${Buffer.alloc(32)}, 'test')
    `);
  });
}

it('a mainframe file goes from bytes to the lake, batch by batch, and its counts are reconciled', async () => {
  await writeFile(path.join(folder, 'payments.ebc'), payments());
  const engine = createEtlEngine({
    ...codeFolder,
    objects: createFileStore({ folder: path.join(folder, 'objects'), dataKey: Buffer.alloc(32, 7) }),
    sourceRoots: { [agency]: [folder] },
  });
  await register();
  const runId = await bench.queueRun(agency, 'payments');
  await bench.drain(await bench.deps(engine));

  const { rows: runs } = await database.admin().query(sql`
    select status, failure_message from flux.runs where run_id = ${runId}
  `);
  expect(runs).toEqual([{ status: 'COMPLETED', failure_message: null }]);
  const { rows: ended } = await database.admin().query(sql`
    select data from flux.run_events where run_id = ${runId} and name = 'RunCompleted'
  `);
  expect(ended).toEqual([{ data: { read: 2000, written: 1998, rejected: 2, filtered: 0, reconciled: true } }]);
  const { rows: rejected } = await database.admin().query(sql`
    select record_no::int, byte_offset::int
    from flux.rejected_records
    where run_id = ${runId}
    order by record_no
  `);
  expect(rejected).toEqual([
    { record_no: 10, byte_offset: 9 * 21 },
    { record_no: 1500, byte_offset: 1499 * 21 },
  ]);
  const lake = ident(`lake_${agency}`, 'payments');
  const { rows: sums } = await database.agencyPool(agency, 'ro').query(sql`
    select count(*)::int as n, sum(pay_amount)::text as total, max(payee) as payee from ${lake}
  `);
  // Odd cents minus even ones are -1000 over 2000 records; records 10 and 1500 would have been -0.10 and -15.00.
  expect(sums).toEqual([{ n: 1998, total: '5.10', payee: 'Payee' }]);
});
