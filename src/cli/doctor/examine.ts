import type { Config } from '../../config.ts';
import { readRunFile } from '../../supervisor/run-file.ts';
import { databaseChecks } from './database-checks.ts';
import { check, type Finding } from './finding.ts';
import * as host from './host-checks.ts';

/**
 * Looks at everything that a set-up needs, and changes nothing but a few bytes that come and go.
 *
 * @param now this host's clock, milliseconds since 1970
 * @param diskMin bytes that must be free
 */
export async function examine(
  config: Config,
  { now = Date.now, diskMin }: { now?: () => number; diskMin?: number } = {},
): Promise<Finding[]> {
  const running = await readRunFile(config.home);
  const { tls, redisUrl } = config;
  const adminUrl = config.databaseUrl ?? running?.adminUrl;
  const embedded = { check: 'database', ok: true, message: 'embedded, not running; flux up starts it' };
  return [
    await check('node', () => host.node()),
    await check('configuration', () => host.configuration(config)),
    await check('home', () => host.home(config, diskMin)),
    await check('objects', () => host.objects(config, diskMin)),
    await check('api', () => host.api(config, running?.apiUrl)),
    ...(tls ? [await check('tls', () => host.tls(tls))] : []),
    ...(redisUrl === undefined ? [] : [await check('redis', () => host.redis(redisUrl))]),
    ...(adminUrl === undefined ? [embedded] : await databaseChecks(config, adminUrl, now)),
  ];
}
