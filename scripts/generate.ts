/** `npm run generate`: writes everything that is generated and checked in. */
import { generate } from './generators.ts';

const changed = generate();
process.stdout.write(changed.length > 0 ? `Changed: ${changed.join(', ')}\n` : 'Nothing has changed.\n');
