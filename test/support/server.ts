import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import type { TestProject } from 'vitest/node';

import { prepareServer, type TestServer } from './template.ts';

declare module 'vitest' {
  interface ProvidedContext {
    fluxServer: TestServer;
  }
}

interface Shared {
  server: TestServer;
  stop(): Promise<void>;
}

// Vitest runs this file once per project, and may load it anew each time; the projects share one server.
const slot = globalThis as typeof globalThis & { fluxTestServer?: { users: number; shared: Promise<Shared> } };

/** Vitest's global setup: one Postgres for all projects of the run, stopped after the last one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  slot.fluxTestServer ??= { users: 0, shared: boot() };
  const entry = slot.fluxTestServer;
  entry.users += 1;
  const { server, stop } = await entry.shared;
  project.provide('fluxServer', server);
  return async () => {
    entry.users -= 1;
    if (entry.users > 0) return;
    delete slot.fluxTestServer;
    await stop();
  };
}

async function boot(): Promise<Shared> {
  const postgres = await startPostgres();
  const { server, release } = await prepareServer(postgres.url);
  return {
    server,
    async stop() {
      await release();
      await postgres.stop();
    },
  };
}

/** The server of FLUX_TEST_DATABASE_URL (a superuser's URL), or an embedded one in a folder of its own. */
async function startPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const given = process.env.FLUX_TEST_DATABASE_URL;
  if (given) return { url: given, stop: () => Promise.resolve() };
  const { startEmbedded } = await import('../../src/embedded-postgres/start-embedded.ts');
  const home = await mkdtemp(path.join(tmpdir(), 'flux-test-'));
  // Started by root, the server works as another OS user, which must be able to pass.
  await chmod(home, 0o711);
  const embedded = await startEmbedded({ home, logger: quiet, settings: testSettings });
  const url = new URL(embedded.adminUrl);
  url.pathname = '/postgres';
  return {
    url: url.href,
    async stop() {
      await embedded.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

// The machine does not lose power in a test, and what a SIGKILL of ours loses is in the kernel's cache.
const testSettings = { fsync: 'off', full_page_writes: 'off', max_connections: '200' };

const quiet = {
  info: () => undefined,
  warn: (...message: unknown[]) => process.stderr.write(`${message.map(String).join(' ')}\n`),
  error: (...message: unknown[]) => process.stderr.write(`${message.map(String).join(' ')}\n`),
};
