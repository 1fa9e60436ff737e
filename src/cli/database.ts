import type { Config } from '../config.ts';
import { installedRoles } from '../db/installation.ts';
import { roleUrl } from '../db/roles.ts';
import { FluxError } from '../errors.ts';
import { readRunFile } from '../supervisor/run-file.ts';

/** The admin's URL: DATABASE_URL, or that of what runs on FLUX_HOME. @throws UNAVAILABLE there is neither */
export async function findAdminUrl(config: Config): Promise<string> {
  if (config.databaseUrl !== undefined) return config.databaseUrl;
  const running = await readRunFile(config.home);
  if (running) return running.adminUrl;
  throw new FluxError(
    'UNAVAILABLE',
    `No database: DATABASE_URL is not set and no Flux runs on ${config.home}. Set it, or start one with flux up.`,
  );
}

/** The login of a service: its own URL if it was given one, else derived from the admin's. */
export async function findServiceUrl(config: Config, service: 'api' | 'worker' | 'sealer'): Promise<string> {
  const given = config[`${service}DatabaseUrl`];
  if (given !== undefined) return given;
  const adminUrl = await findAdminUrl(config);
  const roles = await installedRoles(adminUrl);
  return roleUrl(adminUrl, roles[service], config.contextKey);
}
