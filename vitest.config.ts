import { defineConfig } from 'vitest/config';

const withDatabase = ['./test/support/server.ts'];

// Seconds in unit, minutes in flow: a whole run starts DuckDB children and worker processes.
const projects = [
  { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/contracts/**/*.test.ts', 'test/*.test.ts'], timeoutMs: 20_000 },
  { name: 'db', include: ['test/db/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 30_000 },
  { name: 'api', include: ['test/api/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 30_000 },
  { name: 'flow', include: ['test/flow/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 120_000 },
  { name: 'chaos', include: ['test/chaos/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 180_000 },
  { name: 'e2e', include: ['test/e2e/**/*.test.ts'], globalSetup: withDatabase, timeoutMs: 300_000 },
];

export default defineConfig({
  resolve: {
    // Vite would take graphql's module entry while Node's own imports take index.js: two realms, and graphql refuses both.
    alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }],
  },
  test: {
    projects: projects.map(({ name, include, globalSetup = [], timeoutMs }) => ({
      extends: true,
      test: { name, include, globalSetup, testTimeout: timeoutMs, hookTimeout: Math.max(timeoutMs, 60_000) },
    })),
  },
});
