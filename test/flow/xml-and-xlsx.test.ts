import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { validatePipelineDefinition } from '../../src/contracts/documents.ts';
import { requireOffered } from '../../src/contracts/offered.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { createEtlEngine } from '../../src/etl/engine.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { useDatabase } from '../support/database.ts';
import { useWorkerBench } from '../support/worker.ts';
import { row, workbookOf } from '../unit/etl/xlsx.ts';
import { codeFolder } from '../support/code-folder.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'usda';
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux documents '));
  await database.addAgency(agency);
  await inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
    await tx.query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by)
      values (${agency}, 'files', 'file', '{"roots": ["."]}', 'test')
    `);
    await tx.query(sql`
      insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
      values (${agency}, 'lot', 1, ${JSON.stringify(contract)}, ${Buffer.alloc(32)}, 'test')
    `);
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Lot',
  type: 'object',
  required: ['id', 'weight'],
  additionalProperties: false,
  properties: { id: { type: 'integer' }, weight: { type: 'number', maximum: 1500 }, note: { type: 'string' } },
};
const count = 2000;
const numbers = Array.from({ length: count }, (_each, at) => at + 1);
/** Lots from 1501 on weigh too much, and lot 10 cannot be read. */
const files = {
  xml: Buffer.from(
    `<lots>${numbers.map((n) => `<lot><id>${n}</id><weight>${n}</weight><note>${n === 10 ? '&lost;' : 'n&amp;n'}</note></lot>`).join('\n')}</lots>`,
  ),
  xlsx: workbookOf({
    rows: `${row(1, ['id', 'weight', 'note'])}${numbers.map((n) => (n === 10 ? `<row r="11"><c r="A11" t="e"><v>#REF!</v></c></row>` : row(n + 1, [n, n, 'n&amp;n']))).join('')}`,
  }),
};

it.each([
  ['xml', { type: 'xml', recordPath: '/lots/lot' }],
  ['xlsx', { type: 'xlsx' }],
] as const)(
  'an %s file goes from bytes to the lake, batch by batch, and its counts are reconciled',
  async (type, format) => {
    await writeFile(path.join(folder, `lots.${type}`), files[type]);
    const definition = {
      name: `lots-${type}`,
      title: 'Lots',
      contentType: 'text',
      useCase: 'research',
      source: { connection: 'files', path: `lots.${type}`, format },
      contract: { name: 'lot', version: 1, maxRejectedRatio: 0.5 },
      destination: { type: 'postgres', dataset: `lots_${type}`, mode: 'replace' },
      batch: { records: 300 },
    };
    requireOffered(validatePipelineDefinition(definition));
    await inTenant(database.apiPool(), database.tenant(agency), (tx) =>
      tx.query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
        contract_version, connection_name, definition, sha256, created_by)
      values (${agency}, ${definition.name}, 1, 'lots', 'text', 'research', 0, 'lot', 1, 'files',
        ${JSON.stringify(definition)}, ${Buffer.alloc(32)}, 'test')
    `),
    );
    const engine = createEtlEngine({
      ...codeFolder,
      objects: createFileStore({ folder: path.join(folder, 'objects'), dataKey: Buffer.alloc(32, 7) }),
      sourceRoots: { [agency]: [folder] },
    });
    const runId = await bench.queueRun(agency, definition.name);
    await bench.drain(await bench.deps(engine));

    const { rows: ended } = await database.admin().query(sql`
    select data from flux.run_events where run_id = ${runId} and name = 'RunCompleted'
  `);
    expect(ended).toEqual([{ data: { read: 2000, written: 1499, rejected: 501, filtered: 0, reconciled: true } }]);
    const { rows: rejected } = await database.admin().query(sql`
    select record_no::int, byte_offset is not null as placed
    from flux.rejected_records
    where run_id = ${runId}
    order by record_no
    limit 2
  `);
    expect(rejected).toEqual([
      { record_no: 10, placed: true },
      { record_no: 1501, placed: true },
    ]);
    const lake = ident(`lake_${agency}`, `lots_${type}`);
    const { rows: sums } = await database.agencyPool(agency, 'ro').query(sql`
    select count(*)::int as n, sum(id)::int as ids, sum(weight)::int as weight, min(note) as note from ${lake}
  `);
    expect(sums).toEqual([{ n: 1499, ids: (1500 * 1501) / 2 - 10, weight: (1500 * 1501) / 2 - 10, note: 'n&n' }]);
  },
);
