import { type Command, Option } from 'commander';

import { localIssuer } from '../auth/local-issuer.ts';
import { type Role, roles } from '../auth/roles.ts';
import { type Config, loadConfig } from '../config.ts';
import { FluxError } from '../errors.ts';
import { readRunFile } from '../supervisor/run-file.ts';
import { type ApiClient, createApiClient, named } from './client.ts';

/** What every command takes that talks to the API. */
export interface ApiOptions {
  url?: string;
  token?: string;
  agency?: string;
  role: Role;
  sub: string;
  json?: boolean;
}

const tokenMinutes = 60;

export function withApiOptions(command: Command): Command {
  return command
    .option('--url <url>', 'the API’s address (FLUX_URL; otherwise what runs on FLUX_HOME)')
    .option('--token <token>', 'the bearer token (FLUX_TOKEN)')
    .option('--agency <slug>', 'in development: sign a token for this agency instead')
    .addOption(new Option('--role <role>', 'its role').choices(roles).default('operator'))
    .option('--sub <subject>', 'its subject', 'developer@localhost')
    .option('--json', 'print JSON');
}

/** Runs `work` with a client of the API and closes it. @throws UNAUTHENTICATED there is no token to bring */
export async function withApi<T>(options: ApiOptions, work: (api: ApiClient) => Promise<T>): Promise<T> {
  const config = loadConfig();
  const api = createApiClient({ url: await findApiUrl(config, options.url), token: await findToken(config, options) });
  try {
    return await named(api.url, () => work(api));
  } finally {
    await api.close();
  }
}

async function findApiUrl(config: Config, given: string | undefined): Promise<string> {
  const url = given ?? config.clientUrl ?? (await readRunFile(config.home))?.apiUrl;
  if (url === undefined) return `http://${config.host}:${String(config.port)}`;
  if (URL.canParse(url) && /^https?:/.test(url)) return url;
  throw new FluxError('INVALID_INPUT', `--url should be the API’s address, http://host:port, and is ${url}.`);
}

async function findToken(config: Config, options: ApiOptions): Promise<string> {
  const token = options.token ?? config.clientToken;
  if (token !== undefined) return token;
  if (options.agency === undefined || config.environment === 'production') {
    throw new FluxError(
      'UNAUTHENTICATED',
      config.environment === 'production'
        ? 'There is no token. Bring one with --token or FLUX_TOKEN.'
        : 'There is no token. Bring one with --token or FLUX_TOKEN, or name an agency with --agency to have one signed here.',
    );
  }
  const issuer = await localIssuer(config.home);
  return issuer.sign(
    { agency: options.agency, role: options.role, subject: options.sub, minutes: tokenMinutes },
    config.audience,
  );
}
