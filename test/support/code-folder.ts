/**
 * Where the DuckDB children of a test run keep what they compile of our sources (vitest.config.ts): hundreds of them are started.
 * Absent where a test file is run by something else.
 */
export const codeFolder: { codeFolder?: string } =
  process.env.FLUX_TEST_CODE_FOLDER === undefined ? {} : { codeFolder: process.env.FLUX_TEST_CODE_FOLDER };
