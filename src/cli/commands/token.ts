import { type Command, InvalidArgumentError, Option } from 'commander';

import { localIssuer } from '../../auth/local-issuer.ts';
import { type Classification, classifications } from '../../auth/principal.ts';
import { type Role, roles } from '../../auth/roles.ts';
import { loadConfig } from '../../config.ts';
import { FluxError } from '../../errors.ts';
import { print, printJson } from '../output.ts';

interface TokenOptions {
  agency: string;
  role: Role;
  sub: string;
  clearance: Classification;
  minutes: number;
  json?: boolean;
}

export function addToken(program: Command): void {
  program
    .command('token')
    .description('Sign a token with the local issuer of this FLUX_HOME. Development only.')
    .requiredOption('--agency <slug>', 'the agency that its bearer belongs to', slug)
    .addOption(new Option('--role <role>', 'what its bearer may do').choices(roles).makeOptionMandatory())
    .requiredOption('--sub <subject>', 'who its bearer is')
    .addOption(
      new Option('--clearance <level>', 'the highest classification it shows').choices(classifications).default('U'),
    )
    .option('--minutes <minutes>', 'how long it lives, at most a day', minutes, 60)
    .option('--json', 'print JSON')
    .action(async ({ agency, role, sub, clearance, minutes: lifetime, json }: TokenOptions) => {
      const config = loadConfig();
      if (config.environment === 'production') {
        throw new FluxError(
          'FORBIDDEN',
          'The local issuer does not exist in production. Ask an issuer of FLUX_ISSUERS for a token.',
        );
      }
      const issuer = await localIssuer(config.home);
      const token = await issuer.sign({ agency, role, subject: sub, clearance, minutes: lifetime }, config.audience);
      if (json)
        printJson({
          token,
          agency,
          role,
          subject: sub,
          clearance,
          expiresAt: new Date(Date.now() + lifetime * 60_000),
        });
      else print(token);
    });
}

function slug(text: string): string {
  if (/^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/.test(text)) return text;
  throw new InvalidArgumentError('It should be an agency slug such as national-archives.');
}

function minutes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 1_440) return value;
  throw new InvalidArgumentError('It should be 1 to 1440.');
}
