/**
 * Adds up the checks and the tests of one .ci/run, names what failed and what was skipped, and ends with the one line that
 * says how it stands. Plain JavaScript, because it must also run when the installation of everything else has failed.
 *
 * Usage: node .ci/report.mjs results.tsv skip-notes.ndjson [vitest-report.json ...]
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const [resultsFile, notesFile, ...reportFiles] = process.argv.slice(2);
const notes = new Map(
  linesOf(notesFile)
    .map((line) => JSON.parse(line))
    .map(({ file, name, note }) => [`${file} ${name}`, note]),
);
const outcomes = [...checksOf(resultsFile), ...reportFiles.filter((file) => existsSync(file)).flatMap(testsOf)];
const of = (status) => outcomes.filter((outcome) => outcome.status === status);

/** @returns {{status: string, what: string, why: string}[]} one per stage of the run */
function checksOf(file) {
  return linesOf(file).map((line) => {
    const [status, what, why = ''] = line.split('\t');
    return { status, what, why };
  });
}

function linesOf(file) {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean);
}

/** One per test; a file that failed outside its tests (a hook, an import) is one more failure. */
function testsOf(file) {
  const { testResults } = JSON.parse(readFileSync(file, 'utf8'));
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const of = path.relative(process.cwd(), name);
    const tests = assertionResults.map((test) => ({
      status: test.status === 'passed' || test.status === 'failed' ? test.status : 'skipped',
      what: `${of}: ${test.fullName}`,
      why: test.failureMessages?.[0]?.split('\n')[0] ?? notes.get(`${name} ${test.fullName}`) ?? '',
    }));
    const told = tests.some((test) => test.status === 'failed');
    return status === 'failed' && !told
      ? [...tests, { status: 'failed', what: of, why: (message ?? '').split('\n')[0] }]
      : tests;
  });
}

for (const [status, title] of [
  ['failed', 'Failed'],
  ['skipped', 'Skipped'],
]) {
  const those = of(status);
  if (those.length > 0) console.log(`${title}:`);
  for (const { what, why } of those) console.log(`  ${what}${why ? `\n    ${why}` : ''}`);
}
console.log(`${of('passed').length} passed, ${of('failed').length} failed, ${of('skipped').length} skipped`);
process.exitCode = of('failed').length > 0 || of('passed').length === 0 ? 1 : 0;
