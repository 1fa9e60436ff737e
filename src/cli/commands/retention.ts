import type { Command } from 'commander';

import { loadConfig } from '../../config.ts';
import { expireNow } from '../../main.ts';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { findServiceUrl } from '../database.ts';
import { print, printJson, printTable } from '../output.ts';

/** flux retention run | hold | lift */
export function addRetention(program: Command): void {
  const retention = program
    .command('retention')
    .description('What agencies need not keep any more, and what they must (legal hold).');
  for (const [name, description, change] of [
    [
      'hold',
      'Set a legal hold on the agency of the token: nothing of it expires or can be removed (role admin).',
      hold,
    ],
    ['lift', 'Lift the legal hold on the agency of the token (role admin).', lift],
  ] as const) {
    withApiOptions(retention.command(name))
      .description(description)
      .requiredOption('--reason <text>', 'why, for the audit log')
      .option('--idempotency-key <key>', 'repeating the command with the same key does it once')
      .action(change);
  }
  retention
    .command('run')
    .description(
      'One round now, over every agency, as the platform operator; the workers do the same each hour. Says what went.',
    )
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const config = loadConfig();
      const expired = await expireNow(config, await findServiceUrl(config, 'worker'));
      if (json) return printJson(expired);
      if (expired.length === 0) return print('Nothing has expired.');
      printTable(
        ['agency', 'runs', 'events', 'checkpoints', 'rejected', 'audit entries', 'objects'],
        expired.map((one) => [
          one.agency,
          ...[one.runs, one.events, one.checkpoints, one.rejectedRecords, one.auditEntries, one.objects].map(String),
        ]),
      );
    });
}

interface HoldOptions extends ApiOptions {
  reason: string;
  idempotencyKey?: string;
}

const asked = ({ reason, idempotencyKey }: HoldOptions) => ({
  reason,
  ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
});

async function hold(options: HoldOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const { slug, legalHold } = successOf(await flux.api.setLegalHold(asked(options)));
    if (options.json) return printJson({ agency: slug, legalHold });
    print(`A legal hold keeps everything of ${slug} from now on.`);
  });
}

async function lift(options: HoldOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const { slug } = successOf(await flux.api.liftLegalHold(asked(options)));
    if (options.json) return printJson({ agency: slug, legalHold: null });
    print(`No legal hold keeps ${slug} any more; its retention counts again.`);
  });
}
