import { rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

const withDatabase = ['./test/support/server.ts'];

/**
 * What a test may use decides its project, and so its patience. Groups run one after the other: whole runs, kills and the demo
 * measure seconds, and must not share two cores with hundreds of small tests.
 */
const projects = [
  {
    name: 'unit',
    include: ['test/unit/**/*.test.ts', 'test/contracts/**/*.test.ts', 'test/*.test.ts'],
    timeoutMs: 60_000,
  },
  { name: 'db', include: ['test/db/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 60_000 },
  { name: 'api', include: ['test/api/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 60_000 },
  { name: 'flow', include: ['test/flow/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 120_000, group: 1 },
  {
    name: 'chaos',
    include: ['test/chaos/**/*.test.ts'],
    globalSetup: withDatabase,
    timeoutMs: 180_000,
    group: 2,
    alone: true,
  },
  {
    name: 'e2e',
    include: ['test/e2e/**/*.test.ts'],
    globalSetup: withDatabase,
    timeoutMs: 300_000,
    group: 3,
    alone: true,
  },
];

/** The rooms whose faults lose data or show it to the wrong agency. Each must reach this by itself. */
const guardedRooms = ['domain', 'queue', 'worker', 'checkpoint', 'events', 'audit', 'auth', 'contracts'];
const enough = { lines: 80, branches: 80 };

/** In which the first file of the chaos suite writes when it began, for the others: test/chaos/suite-clock.ts. */
const chaosClock = path.join(tmpdir(), `flux-chaos-clock-${String(process.pid)}-${String(Date.now())}`);
/** In which children of the tests find what earlier ones compiled: test/support/code-folder.ts. */
const codeFolder = path.join(tmpdir(), `flux-test-code-${String(process.pid)}-${String(Date.now())}`);
process.once('exit', () => {
  rmSync(chaosClock, { force: true });
  rmSync(codeFolder, { recursive: true, force: true });
});

export default defineConfig({
  resolve: {
    // Vite would take graphql's module entry while Node's own imports take index.js: two realms, and graphql refuses both.
    alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }],
  },
  test: {
    env: { FLUX_CHAOS_CLOCK: chaosClock, FLUX_TEST_CODE_FOLDER: codeFolder },
    // A condition that a test polls for comes when the machine gets to it; the time bounds of a shared machine prove nothing.
    expect: { poll: { timeout: 20_000 } },
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts', 'schema/**/*.ts', 'resolvers/**/*.ts'],
      exclude: ['src/contracts/generated.ts'],
      reporter: ['text-summary', 'json-summary', 'html'],
      reportOnFailure: true,
      thresholds: Object.fromEntries(guardedRooms.map((room) => [`src/${room}/**`, enough])),
    },
    projects: projects.map(({ name, include, globalSetup = [], timeoutMs, group = 0, alone = false }) => ({
      extends: true,
      test: {
        name,
        include,
        globalSetup,
        testTimeout: timeoutMs,
        hookTimeout: Math.max(timeoutMs, 60_000),
        // Vitest alone would leave one core to itself, which on a machine of two means one file at a time.
        maxWorkers: alone ? 1 : Math.max(2, availableParallelism() - 1),
        sequence: { groupOrder: group },
      },
    })),
  },
});
