import { underStructureLock } from '../../src/db/migrate.ts';
import { connect } from '../../src/db/pool.ts';
import { agencyRole, ensureRole, lakeSchema, rolePassword } from '../../src/db/roles.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';

/** What a test may want otherwise than usual; the names are the columns'. */
export interface AgencyOverrides {
  name?: string;
  abbreviation?: string;
  supportedContentTypes?: readonly string[];
  supportedUseCases?: readonly string[];
  /** 0 (U) to 5 (SCI). */
  dataClassification?: number;
  retentionDays?: number;
  retentionFloorDays?: number;
  enabled?: boolean;
}

/** Adds an agency: its row, two logins, its lake and their grants. */
export async function provisionTestAgency(
  { adminUrl, contextKey }: { adminUrl: string; contextKey: Buffer },
  slug: string,
  overrides: AgencyOverrides,
): Promise<void> {
  const agency = {
    name: `Agency ${slug}`,
    abbreviation: slug.toUpperCase(),
    supportedContentTypes: ['images', 'documents', 'text', 'mixed'],
    supportedUseCases: ['research', 'scientific', 'environmental', 'economic-development', 'education'],
    dataClassification: 5,
    retentionDays: 2555,
    retentionFloorDays: 0,
    enabled: true,
    ...overrides,
  };
  const admin = await connect({ url: adminUrl, applicationName: 'flux tests' });
  try {
    await underStructureLock(admin, () =>
      inTransaction(admin, async (tx) => {
        const { rows } = await tx.query<{ database: string }>(sql`select current_database() as database`);
        const database = (rows[0] as { database: string }).database;
        await tx.query(sql`
          insert into flux.agencies (agency_id, name, abbreviation, supported_content_types, supported_use_cases,
            data_classification, retention_days, retention_floor_days, enabled)
          values (${slug}, ${agency.name}, ${agency.abbreviation}, ${agency.supportedContentTypes},
            ${agency.supportedUseCases}, ${agency.dataClassification}, ${agency.retentionDays},
            ${agency.retentionFloorDays}, ${agency.enabled})
        `);
        const [rw, ro] = [agencyRole(database, slug, 'rw'), agencyRole(database, slug, 'ro')];
        for (const [role, access] of [
          [rw, 'rw'],
          [ro, 'ro'],
        ] as const) {
          await ensureRole(tx, role, rolePassword(contextKey, role));
          await tx.query(sql`grant connect on database ${ident(database)} to ${ident(role)}`);
          await tx.query(sql`
            insert into flux.agency_logins (agency_id, role_name, access) values (${slug}, ${role}, ${access})
          `);
        }
        const lake = lakeSchema(slug);
        await tx.query(sql`create schema ${ident(lake)} authorization ${ident(rw)}`);
        await tx.query(sql`grant usage on schema ${ident(lake)} to ${ident(ro)}`);
        await tx.query(sql`
          alter default privileges for role ${ident(rw)} in schema ${ident(lake)} grant select on tables to ${ident(ro)}
        `);
        await tx.query(sql`select flux.grant_agency_login(${rw}, ${ro})`);
      }),
    );
  } finally {
    await admin.end();
  }
}
