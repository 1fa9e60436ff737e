import { appendAudit } from '../audit/append.ts';
import { classifications } from '../auth/principal.ts';
import { validateAgencyManifest } from '../contracts/documents.ts';
import type { AgencyManifest } from '../contracts/generated.ts';
import * as agencies from '../db/agencies.ts';
import type { AgencyRow, ProvisionedAgency } from '../db/agencies.ts';
import { closeAgencyLogins, ensureAgencyLogins } from '../db/agency-logins.ts';
import { connectAdmin } from '../db/connect-admin.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { KeyEncryption } from '../keys/key-encryption.ts';
import { makeMissingKeys } from './manage-keys.ts';
import { asAgency, type Operator, underOperatorLock } from './operator.ts';

export type { ProvisionedAgency } from '../db/agencies.ts';

/**
 * Agencies come and go by the platform operator, who is no tenant: these functions take the admin's URL. Each is one
 * transaction under the structure lock (role, row, lake and audit entry stand together or not at all), and leaves an entry
 * in the agency's own audit log.
 */
export interface Provisioning extends Operator {
  /** Makes the agency's data keys; absent where nothing is sealed (tests). */
  encryption?: KeyEncryption;
  /** Days below which the agency's own admin may not go; unchanged when left out. */
  retentionFloorDays?: number;
  /** The agency's share of the workers; unchanged when left out. */
  share?: Partial<Share>;
}

export interface Share {
  /** Quanta for one of an agency of weight 1, 1 to 100. */
  shareWeight: number;
  /** Most partitions at work at once; null is without cap. */
  executingCap: number | null;
}

/**
 * Adds an agency: its row, two logins, its lake. One that was removed is opened again with all it had.
 *
 * @throws INVALID_INPUT the manifest breaks a rule, or the agency exists already
 * @throws CONFIG_INVALID a login's name belongs to another database of the server
 */
export async function addAgency(deps: Provisioning, document: unknown): Promise<ProvisionedAgency> {
  const manifest = validateAgencyManifest(document);
  return provision(deps, manifest.slug, async (tx, before) => {
    if (before?.open) {
      throw new FluxError(
        'INVALID_INPUT',
        `Agency ${manifest.slug} exists already. Change it with flux agencies update.`,
      );
    }
    const row = toRow(manifest, before, deps);
    await (before ? agencies.updateAgencyRow(tx, row) : agencies.insertAgency(tx, row));
    await ensureAgencyLogins(tx, manifest.slug, deps.contextKey);
    if (deps.encryption) await makeMissingKeys(tx, { ...deps, encryption: deps.encryption }, manifest.slug);
    return 'agency.add';
  });
}

/**
 * Writes a manifest over the present one and repairs logins and lake.
 *
 * @throws NOT_FOUND there is no such agency, or it was removed
 * @throws INVALID_INPUT the manifest breaks a rule, or asks for less retention than its floor
 */
export async function updateAgency(deps: Provisioning, document: unknown): Promise<ProvisionedAgency> {
  const manifest = validateAgencyManifest(document);
  return provision(deps, manifest.slug, async (tx, before) => {
    if (!before?.open) throw unknownAgency(manifest.slug);
    await agencies.updateAgencyRow(tx, toRow(manifest, before, deps));
    await ensureAgencyLogins(tx, manifest.slug, deps.contextKey);
    return 'agency.update';
  });
}

/**
 * Sets an agency's share of the workers, and nothing else. It holds from the next claim on.
 *
 * @throws NOT_FOUND there is no such agency, or it was removed
 */
export async function shareWorkers(deps: Provisioning, slug: string): Promise<ProvisionedAgency> {
  return provision(deps, slug, async (tx, before) => {
    if (!before?.open) throw unknownAgency(slug);
    await agencies.updateAgencyRow(tx, { ...before, ...deps.share });
    return 'agency.share';
  });
}

/**
 * Closes an agency: disabled, and nobody can log in or work as it. Nothing is deleted, because its evidence must be kept;
 * `addAgency` opens it again.
 *
 * @throws NOT_FOUND there is no such agency, or it was removed before
 * @throws RUN_CONFLICT it has runs that are not over
 */
export async function removeAgency(deps: Provisioning, slug: string): Promise<ProvisionedAgency> {
  return provision(deps, slug, async (tx, before) => {
    if (!before?.open) throw unknownAgency(slug);
    const active = await agencies.countActiveRuns(tx, slug);
    if (active > 0n) {
      throw new FluxError(
        'RUN_CONFLICT',
        `Agency ${slug} has ${String(active)} ${active === 1n ? 'run' : 'runs'} that ${active === 1n ? 'is' : 'are'} not over. Disable it (enabled: false), let them end, then remove it.`,
      );
    }
    await agencies.updateAgencyRow(tx, { ...before, enabled: false });
    await closeAgencyLogins(tx, slug);
    return 'agency.close';
  });
}

/** Every agency, by slug, the removed ones too (`open` is false). */
export async function listAgencies(adminUrl: string): Promise<ProvisionedAgency[]> {
  const admin = await connectAdmin(adminUrl, 'flux agencies');
  try {
    return await agencies.listAgencies(admin);
  } finally {
    await admin.end();
  }
}

/** Runs `change` as the agency's tenant, so that row-level security holds for an admin without superuser too. */
async function provision(
  deps: Provisioning,
  slug: string,
  change: (tx: Connection, before: ProvisionedAgency | null) => Promise<string>,
): Promise<ProvisionedAgency> {
  return underOperatorLock(deps, 'flux agencies', (admin) =>
    asAgency(admin, deps.contextKey, slug, async (tx) => {
      const before = await agencies.readAgency(tx, slug);
      const action = await change(tx, before);
      const after = (await agencies.readAgency(tx, slug)) as ProvisionedAgency;
      await appendAudit(tx, {
        actor: deps.actor,
        role: 'platform',
        action,
        resourceType: 'agency',
        resourceId: slug,
        success: true,
        before: before ? toAudited(before) : null,
        after: toAudited(after),
      });
      return after;
    }),
  );
}

function toRow(
  manifest: AgencyManifest,
  before: ProvisionedAgency | null,
  { retentionFloorDays: floor, share }: Provisioning,
): AgencyRow {
  const retentionFloorDays = floor ?? before?.retentionFloorDays ?? 0;
  const retentionDays = manifest.retention_days ?? 2555;
  if (retentionDays !== 0 && retentionDays < retentionFloorDays) {
    throw new FluxError(
      'INVALID_INPUT',
      `retention_days is ${String(retentionDays)}, below the floor of ${String(retentionFloorDays)} days for ${manifest.slug}. Raise it, or lower the floor with --retention-floor.`,
    );
  }
  return {
    slug: manifest.slug,
    name: manifest.name,
    abbreviation: manifest.abbreviation,
    supportedContentTypes: manifest.supported_content_types,
    supportedUseCases: manifest.supported_use_cases,
    dataClassification: classifications.indexOf(manifest.data_classification ?? 'U'),
    retentionDays,
    retentionFloorDays,
    enabled: manifest.enabled ?? true,
    shareWeight: share?.shareWeight ?? before?.shareWeight ?? 1,
    executingCap: share?.executingCap === undefined ? (before?.executingCap ?? null) : share.executingCap,
  };
}

function toAudited({ version, createdAt: _created, updatedAt: _updated, ...agency }: ProvisionedAgency): object {
  return { ...agency, version: String(version) };
}

function unknownAgency(slug: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no agency ${slug}. See flux agencies list.`);
}
