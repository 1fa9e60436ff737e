/** `npm run verify`: generates, and fails when what is checked in was not what the sources generate. */
import { generate } from './generators.ts';

const stale = generate();
if (stale.length > 0) {
  process.stderr.write(
    `Out of date: ${stale.join(', ')}. They are written anew now; look at the difference and commit it.\n`,
  );
  process.exitCode = 1;
} else {
  process.stdout.write('Everything generated is up to date.\n');
}
