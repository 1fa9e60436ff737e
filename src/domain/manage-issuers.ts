import { appendAudit } from '../audit/append.ts';
import { staticKeySet } from '../auth/key-set.ts';
import { requireKeySetUrl } from '../auth/remote-key-set.ts';
import { sealContext } from '../auth/tenant-context.ts';
import { listAgencies } from '../db/agencies.ts';
import { connectAdmin } from '../db/connect-admin.ts';
import { deleteIssuer, type IssuerRow, listIssuers as list, listOwnIssuers, saveIssuer } from '../db/issuers.ts';
import { sealKey, underStructureLock } from '../db/migrate.ts';
import { channels, notify } from '../db/notify.ts';
import type { Connection } from '../db/pool.ts';
import { inTransaction, setTenant } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import { revocationHint } from './revocations.ts';

export type { IssuerRow } from '../db/issuers.ts';

/**
 * Which issuers may speak for which agencies is the platform operator's to say, who is no tenant: these functions take the admin's
 * URL. Each is one transaction under the structure lock and leaves an entry in the audit log of every agency that it concerns.
 * Every API process follows within two seconds, and ends what is open under the tokens of an issuer that is trusted no more.
 */
export interface ManageIssuers {
  adminUrl: string;
  contextKey: Buffer;
  environment: 'development' | 'production';
  /** Who asks, for the audit log: `operator:<OS user>`. */
  actor: string;
}

export interface NewIssuer {
  issuer: string;
  /** One of the two. */
  jwksUri: string | null;
  jwks: { keys: Record<string, unknown>[] } | null;
  audience: string | null;
  /** Slugs. */
  agencies: readonly string[];
}

/**
 * Trusts an issuer for agencies; for one that trusts it already, the new keys and audience take the place of the old.
 *
 * @throws INVALID_INPUT it has no name, or not exactly one of jwksUri and jwks
 * @throws CONFIG_INVALID the keys are not usable, or are not fetched by https
 * @throws NOT_FOUND an agency does not exist; nothing is changed for the others either
 */
export async function addIssuer(deps: ManageIssuers, added: NewIssuer): Promise<IssuerRow[]> {
  requireSound(added, deps.environment);
  const { issuer, jwksUri, jwks, audience } = added;
  return change(deps, added, 'issuer.add', (tx, agency) =>
    saveIssuer(tx, { agency, issuer, jwksUri, jwks, audience, addedBy: deps.actor }),
  );
}

/**
 * Trusts an issuer no more: for these agencies, or for all if none is named. Its tokens are refused from then on; what is open
 * under them goes on to their end, unless it is revoked.
 *
 * @throws NOT_FOUND it is not trusted, or not for one of the agencies
 */
export async function removeIssuer(
  deps: ManageIssuers,
  { issuer, agencies }: { issuer: string; agencies: readonly string[] | null },
): Promise<string[]> {
  const trusting = (await listIssuers(deps.adminUrl))
    .filter((row) => row.issuer === issuer)
    .map(({ agency }) => agency);
  const concerned = agencies ?? trusting;
  if (concerned.length === 0) throw notTrusted(issuer, null);
  await change(deps, { issuer, agencies: concerned }, 'issuer.remove', async (tx, agency) => {
    if (!(await deleteIssuer(tx, agency, issuer))) throw notTrusted(issuer, agency);
  });
  return [...concerned];
}

/** Every registered issuer with every agency that it may speak for. Those of FLUX_ISSUERS are not among them. */
export async function listIssuers(adminUrl: string): Promise<IssuerRow[]> {
  const admin = await connectAdmin(adminUrl, 'flux issuers');
  try {
    return await list(admin);
  } finally {
    await admin.end();
  }
}

/** Does it for each agency as that agency's tenant, so that row-level security holds for an admin without superuser too. */
async function change(
  deps: ManageIssuers,
  { issuer, agencies }: { issuer: string; agencies: readonly string[] },
  action: 'issuer.add' | 'issuer.remove',
  work: (tx: Connection, agency: string) => Promise<void>,
): Promise<IssuerRow[]> {
  const admin = await connectAdmin(deps.adminUrl, 'flux issuers');
  try {
    return await underStructureLock(admin, () =>
      inTransaction(admin, async (tx) => {
        await requireAgencies(tx, agencies);
        const rows: IssuerRow[] = [];
        for (const agency of [...agencies].sort()) {
          await setTenant(tx, operatorContext(deps.contextKey, agency));
          const read = async () =>
            (await listOwnIssuers(tx)).find((row) => row.agency === agency && row.issuer === issuer) ?? null;
          const before = await read();
          await work(tx, agency);
          const after = await read();
          await appendAudit(tx, {
            actor: deps.actor,
            role: 'platform',
            action,
            resourceType: 'issuer',
            resourceId: issuer,
            success: true,
            before: before && told(before),
            after: after && told(after),
          });
          if (after) rows.push(after);
        }
        // Processes look by themselves; told, they end what is open under a removed issuer's tokens at once.
        await notify(tx, channels.runEvents, revocationHint);
        return rows;
      }),
    );
  } finally {
    await admin.end();
  }
}

async function requireAgencies(tx: Connection, agencies: readonly string[]): Promise<void> {
  const known = new Set((await listAgencies(tx)).map(({ slug }) => slug));
  const unknown = agencies.filter((agency) => !known.has(agency));
  if (unknown.length === 0) return;
  throw new FluxError('NOT_FOUND', `There is no agency ${unknown.join(', ')}. See flux agencies list.`);
}

function requireSound({ issuer, jwksUri, jwks, agencies }: NewIssuer, environment: 'development' | 'production'): void {
  if (issuer.trim() === '' || issuer.length > 500) {
    throw new FluxError('INVALID_INPUT', 'An issuer should have 1 to 500 characters: exactly the `iss` of its tokens.');
  }
  if (agencies.length === 0) {
    throw new FluxError('INVALID_INPUT', `Say for which agencies ${issuer} may speak, with --agencies.`);
  }
  if ((jwksUri === null) === (jwks === null)) {
    throw new FluxError('INVALID_INPUT', 'Give either the address of its keys (--jwks-uri) or the keys (--jwks FILE).');
  }
  if (jwksUri !== null) requireKeySetUrl(jwksUri, { allowHttp: environment === 'development' });
  try {
    if (jwks !== null) staticKeySet(jwks);
  } catch (cause) {
    throw toFluxError(cause);
  }
}

/** Public keys and addresses are no secret, but the log needs no keys: their ids say which they were. */
function told({ issuer, agency, jwksUri, jwks, audience }: IssuerRow): object {
  return { issuer, agency, jwksUri, keys: jwks?.keys.map(({ kid }) => kid ?? null) ?? null, audience };
}

function operatorContext(contextKey: Buffer, agency: string): string {
  const expiresAt = Math.floor(Date.now() / 1000) + 600;
  return sealContext(sealKey(contextKey), { agency, role: 'platform', clearance: 5, expiresAt });
}

function notTrusted(issuer: string, agency: string | null): FluxError {
  return new FluxError(
    'NOT_FOUND',
    `The issuer ${issuer} is not registered${agency === null ? '' : ` for ${agency}`}. See flux issuers list.`,
  );
}
