/**
 * CPU that refusing each hostile document costs the server's guard: parse, validate, measure. `node bench/hostile.ts [rounds]`.
 * Prints one line for each document and fails when the worst median passes 50 ms.
 */
import { hostile } from '../test/api/hostile-corpus.ts';
import { testSchema } from '../test/api/test-schema.ts';
import { prepareOperation } from '../src/server/operations.ts';

const allowedMs = 50;
const rounds = Number(process.argv[2] ?? 15);
const schema = testSchema();

const results = hostile.map(([name, operation, code]) => {
  const measured = Array.from({ length: rounds }, () => {
    const before = process.cpuUsage();
    const refused = !('document' in prepareOperation(schema, operation, { introspection: true }));
    const { user, system } = process.cpuUsage(before);
    return { refused, ms: (user + system) / 1_000 };
  });
  const times = measured.map(({ ms }) => ms).sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)] ?? 0;
  return { name, code, median, worst: times.at(-1) ?? 0, refused: measured.every(({ refused }) => refused) };
});

results.sort((a, b) => b.median - a.median);
for (const { name, code, median, worst, refused } of results) {
  // Wrong values of variables are refused by graphql when it executes, after the guard.
  const outcome = refused ? code : `${code} (on execution)`;
  console.log(
    `${median.toFixed(2).padStart(8)} ms median ${worst.toFixed(2).padStart(8)} ms worst  ${name}: ${outcome}`,
  );
}
const slowest = results[0];
console.log(
  `${String(results.length)} documents, ${String(rounds)} rounds each; at most ${String(allowedMs)} ms are allowed`,
);
if (!slowest || slowest.median > allowedMs) process.exitCode = 1;
