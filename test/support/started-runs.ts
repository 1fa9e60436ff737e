import type { Context } from '../../resolvers/context.ts';
import { registerConnection } from '../../src/domain/register-connection.ts';
import { registerContract } from '../../src/domain/register-contract.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { type StartRun, startRun } from '../../src/domain/start-run.ts';
import { connectionDocument, contextOf, contractDocument } from './api.ts';
import type { TestDatabase } from './database.ts';

const asked = { reason: null, idempotencyKey: null };

/** An agency of its own, so that no test counts another's rows; returns one of its operators. */
export async function agencyWith(
  database: TestDatabase,
  slug: string,
  ...pipelines: Record<string, unknown>[]
): Promise<Context> {
  await database.addAgency(slug);
  const admin = contextOf(database, slug, { role: 'admin', clearance: 5 });
  await registerConnection(admin.api, admin, { definition: connectionDocument, ...asked });
  await registerContract(admin.api, admin, { name: 'reading', document: contractDocument, ...asked });
  for (const definition of pipelines) await registerPipeline(admin.api, admin, { definition, ...asked });
  return contextOf(database, slug);
}

/** Starts a run; what the input does not name is not asked for. */
export function start(ctx: Context, input: Partial<StartRun>): ReturnType<typeof startRun> {
  const nothing = { pipeline: null, payload: null, stage: null, dryRun: null, metadata: null, ...asked };
  return startRun(ctx.api, ctx, { ...nothing, ...input });
}
