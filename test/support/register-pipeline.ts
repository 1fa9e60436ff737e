import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import type { PipelineDefinition } from '../../src/etl/engine-types.ts';
import type { TestDatabase } from './database.ts';

/** A pipeline that reads files, with its connection and its contract, as the API would have stored them. */
export async function registerPipeline(
  database: TestDatabase,
  { agency, definition, contract }: { agency: string; definition: PipelineDefinition; contract: unknown },
): Promise<void> {
  const { name, source } = definition;
  const { name: contractName, version } = definition.contract as { name: string; version: number };
  await inTenant(database.apiPool(), database.tenant(agency), async (tx) => {
    await tx.query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by)
      values (${agency}, ${source.connection}, 'file', '{"roots": ["."]}', 'test')
      on conflict do nothing
    `);
    await tx.query(sql`
      insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
      values (${agency}, ${contractName}, ${version}, ${JSON.stringify(contract)}, ${Buffer.alloc(32)}, 'test')
    `);
    await tx.query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
        contract_version, connection_name, definition, sha256, created_by)
      values (${agency}, ${name}, 1, ${name}, 'text', 'research', 0, ${contractName}, ${version}, ${source.connection},
        ${JSON.stringify(definition)}, ${Buffer.alloc(32)}, 'test')
    `);
  });
}
