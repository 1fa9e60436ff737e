/**
 * Where the DuckDB children of a test run keep what they compile of our sources (vitest.config.ts): hundreds of them are started.
 * Absent where a test file is run by something else.
 */
export const codeFolder: { codeFolder?: string } =
  process.env.FLUX_TEST_CODE_FOLDER === undefined ? {} : { codeFolder: process.env.FLUX_TEST_CODE_FOLDER };

/** The same for other processes of ours, as their environment: most of what a short command does is to read its own code. */
export const compileCache: Record<string, string> =
  codeFolder.codeFolder === undefined ? {} : { NODE_COMPILE_CACHE: codeFolder.codeFolder };
