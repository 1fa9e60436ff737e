import type { Command } from 'commander';

import { loadConfig } from '../../config.ts';
import { print, printJson } from '../output.ts';

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description(
      'Check what Flux needs here: configuration, folders, port, database with its roles, clock and queue, Redis, issuers. Exit code 1 if something is wrong.',
    )
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      // Alone in needing what it looks at: the client of Redis is four hundred modules.
      const { examine } = await import('../doctor/examine.ts');
      const findings = await examine(loadConfig());
      if (json) printJson(findings);
      else
        for (const { check: name, ok, message } of findings)
          print(`${ok ? 'ok   ' : 'WRONG'}  ${name.padEnd(14)} ${message}`);
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}
