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

async function startPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const given = process.env.FLUX_TEST_DATABASE_URL;
  if (!given) {
    throw new Error('Set FLUX_TEST_DATABASE_URL to a superuser URL of a Postgres 15 or newer.');
  }
  return { url: given, stop: () => Promise.resolve() };
}
