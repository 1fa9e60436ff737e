import { rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

import { LongestFirst } from './test/support/longest-first.ts';

const withDatabase = ['./test/support/server.ts'];
/** Written beside several files at once: built before the first of them. */
const withDashboard = ['./test/support/built-dashboard.ts'];

/**
 * Files at a time. Most wait half of their time: for a lease to end, a process to start, a page to be drawn. One for each core left a
 * third of two cores idle. More than there are cores only where these are few: each file has its own processes and connections.
 */
const severalWorkers = Math.max(3, availableParallelism() - 1);

/**
 * What a test may use decides its project, and so its patience. Groups run one after the other: whole runs and whole installations
 * must not share two cores with hundreds of small tests. The chaos suite alone measures seconds, and has the machine to itself.
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
    workers: 1,
  },
  {
    name: 'e2e',
    include: ['test/e2e/**/*.test.ts'],
    globalSetup: [...withDatabase, ...withDashboard],
    timeoutMs: 300_000,
    group: 3,
    // Each starts an installation of six processes.
    workers: 2,
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
    sequence: { sequencer: LongestFirst },
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
    projects: projects.map(({ name, include, globalSetup = [], timeoutMs, group = 0, workers = severalWorkers }) => ({
      extends: true,
      test: {
        name,
        include,
        globalSetup,
        testTimeout: timeoutMs,
        hookTimeout: Math.max(timeoutMs, 60_000),
        maxWorkers: workers,
        sequence: { groupOrder: group },
      },
    })),
  },
});
