/** Writes migrations/schema.sql: what the migrations amount to, read back from a fresh embedded Postgres. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { migrate } from '../src/db/migrate.ts';
import { connect } from '../src/db/pool.ts';
import { dumpSchema } from '../src/db/schema-dump.ts';
import { startEmbedded } from '../src/embedded-postgres/start-embedded.ts';
import { createLogger } from '../src/telemetry/logger.ts';

const home = await mkdtemp(path.join(tmpdir(), 'flux-dump-'));
// Started by root, the server works as another OS user, which must be able to pass.
await chmod(home, 0o711);
const postgres = await startEmbedded({
  home,
  logger: createLogger({ service: 'flux-dump', level: 'warn' }),
  settings: { fsync: 'off' },
});
try {
  await migrate(postgres.adminUrl, { contextKey: randomBytes(32) });
  const admin = await connect({ url: postgres.adminUrl, applicationName: 'flux dump' });
  try {
    await writeFile(new URL('../migrations/schema.sql', import.meta.url), await dumpSchema(admin));
  } finally {
    await admin.end();
  }
} finally {
  await postgres.stop();
  await rm(home, { recursive: true, force: true });
}
