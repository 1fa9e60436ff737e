import { localIssuer } from '../../auth/local-issuer.ts';
import { type Config, loadConfig } from '../../config.ts';
import { addAgency, listAgencies, updateAgency } from '../../domain/provision-agency.ts';
import { FluxError } from '../../errors.ts';
import { type Stack, startStack } from '../../supervisor/stack.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { type ApiClient, createApiClient } from '../client.ts';
import { keyOperator } from '../commands/keys.ts';
import { print } from '../output.ts';
import { stoppingText, stopSignal } from '../stop-signal.ts';
import { createAssassin } from './kill-worker.ts';
import { registerSamples, startRun } from './register.ts';
import { type AgencySamples, readSamples, sampleDataFolder } from './samples.ts';
import { createScreen, type Screen } from './screen.ts';
import { formatResults, readResult, type RunResult } from './summary.ts';
import { type DemoRun, followEvents, showProgress } from './watch-run.ts';

/** The run in whose middle a worker is killed: BTS flights, three million records. */
const killed = { agency: 'bts', pipeline: 'flights', afterRecords: 1_000_000 };
const tokenMinutes = 60;

interface Clients {
  operator: ApiClient;
  admin: ApiClient;
  token: string;
}

/**
 * Runs the sample pipelines of six agencies on a stack of its own, all through the public API, and kills a worker on the way.
 *
 * @returns 0 when every run completed and reconciled, 1 otherwise
 */
export async function runDemo(options: { exit: boolean }): Promise<number> {
  const stop = stopSignal();
  const samples = await readSamples();
  const config = withSampleData(loadConfig(), samples);
  print(`Flux demo: ${String(samples.length)} agencies, real federal data, ${String(config.workers)} workers.`);
  const startedAt = performance.now();
  let stack: Stack | undefined;
  try {
    stack = await startStack(config, {
      workers: config.workers,
      logger: createLogger({ service: 'flux-supervisor', level: 'error' }),
      logs: 'files',
      signal: stop,
    });
    const started = secondsSince(startedAt);
    print(
      `Up after ${started} s: ${config.databaseUrl === undefined ? 'embedded Postgres' : 'Postgres of DATABASE_URL'}, API ${stack.apiUrl}, workers ${pids(stack)}`,
    );
    const results = await runAll(stack, config, samples, stop);
    const sound = results.every((result) => result.sound);
    print(`\n${formatResults(results)}\n`);
    print(`${sound ? 'Every run reconciled' : 'NOT every run reconciled'}, ${secondsSince(startedAt)} s in all.`);
    if (!options.exit) await stayUp(stack, config, stop);
    return sound ? 0 : 1;
  } catch (cause) {
    if (stop.aborted) return 1;
    throw cause;
  } finally {
    if (stack) {
      print(stoppingText(config));
      await stack.stop();
      print('Stopped.');
    }
  }
}

/** The agencies may read the sample data's folder, in addition to what the configuration allows. */
function withSampleData(config: Config, samples: readonly AgencySamples[]): Config {
  if (config.environment === 'production') {
    throw new FluxError(
      'CONFIG_INVALID',
      'The demo signs its own tokens, which production refuses. Run it with NODE_ENV=development.',
    );
  }
  const data = sampleDataFolder();
  const roots = Object.fromEntries(samples.map(({ slug }) => [slug, [...(config.sourceRoots[slug] ?? []), data]]));
  return { ...config, sourceRoots: { ...config.sourceRoots, ...roots } };
}

async function runAll(
  stack: Stack,
  config: Config,
  samples: readonly AgencySamples[],
  stop: AbortSignal,
): Promise<RunResult[]> {
  await provision(stack, config, samples);
  const clients = await signIn(stack, config, samples);
  try {
    for (const sample of samples) await registerSamples(clientsOf(clients, sample.slug).admin, sample);
    print(
      `Registered ${String(samples.flatMap(({ pipelines }) => pipelines).length)} pipelines with their contracts over GraphQL.\n`,
    );
    const screen = createScreen(process.stdout);
    const runs: DemoRun[] = [];
    for (const { slug: agency, pipelines } of samples) {
      for (const { name: pipeline } of pipelines) {
        runs.push({ id: await startRun(clientsOf(clients, agency).operator, pipeline), agency, pipeline });
      }
    }
    await Promise.all([
      ...runs.map((run) => showProgress(clientsOf(clients, run.agency).operator, run, screen, stop)),
      ...runs
        .filter(isKilled)
        .map((run) => killInTheMiddle(clientsOf(clients, run.agency).operator, run, stack, screen, stop)),
    ]);
    screen.close();
    stop.throwIfAborted();
    return await Promise.all(runs.map((run) => readResult(clientsOf(clients, run.agency).operator, run)));
  } finally {
    await Promise.all([...clients.values()].flatMap(({ operator, admin }) => [operator.close(), admin.close()]));
  }
}

async function provision(stack: Stack, config: Config, samples: readonly AgencySamples[]): Promise<void> {
  const deps = keyOperator(config, stack.adminUrl);
  const present = new Set((await listAgencies(stack.adminUrl)).map(({ slug }) => slug));
  for (const { slug, manifest } of samples) {
    await (present.has(slug) ? updateAgency(deps, manifest) : addAgency(deps, manifest));
  }
  print(`Agencies: ${samples.map(({ slug }) => slug).join(', ')}`);
}

async function signIn(stack: Stack, config: Config, samples: readonly AgencySamples[]): Promise<Map<string, Clients>> {
  const issuer = await localIssuer(config.home);
  const sign = (agency: string, role: 'admin' | 'operator'): Promise<string> =>
    issuer.sign({ agency, role, subject: `${role}@${agency}.example.gov`, minutes: tokenMinutes }, config.audience);
  const entries = samples.map(async ({ slug }): Promise<[string, Clients]> => {
    const token = await sign(slug, 'operator');
    const operator = createApiClient({ url: stack.apiUrl, token });
    const admin = createApiClient({ url: stack.apiUrl, token: await sign(slug, 'admin') });
    return [slug, { operator, admin, token }];
  });
  return new Map(await Promise.all(entries));
}

function isKilled({ agency, pipeline }: DemoRun): boolean {
  return agency === killed.agency && pipeline === killed.pipeline;
}

async function killInTheMiddle(
  api: ApiClient,
  run: DemoRun,
  stack: Stack,
  screen: Screen,
  stop: AbortSignal,
): Promise<void> {
  const assassin = createAssassin(killed.afterRecords);
  void assassin.recovered.then((seconds) => {
    screen.note(
      `>> Its partition goes on from the last checkpoint: first new batch ${seconds.toFixed(1)} s after the kill.`,
    );
  });
  await followEvents(
    api,
    run,
    (event) => {
      const victim = assassin.observe(event);
      const worker = victim && stack.workers().find(({ id }) => id === victim.worker);
      if (!victim || !worker) return;
      process.kill(worker.pid, 'SIGKILL');
      screen.note(
        `>> SIGKILL to worker ${worker.id} (pid ${String(worker.pid)}) in the middle of ${run.pipeline}, partition ${String(victim.partition)}.`,
      );
    },
    stop,
  );
}

async function stayUp(stack: Stack, config: Config, stop: AbortSignal): Promise<void> {
  const issuer = await localIssuer(config.home);
  const token = await issuer.sign(
    { agency: 'usgs', role: 'operator', subject: 'you@usgs.example.gov', minutes: tokenMinutes },
    config.audience,
  );
  print(`
Where to look (Ctrl-C stops everything):
  Dashboard  ${stack.apiUrl}/              sign in as operator of usgs, or of another agency above
  API        ${stack.apiUrl}/v1/graphql    HTTP and WebSocket
  GraphiQL   ${stack.apiUrl}/graphiql
  Health     ${stack.apiUrl}/health/ready

  curl -s ${stack.apiUrl}/v1/graphql -H 'content-type: application/json' \\
    -H 'authorization: Bearer ${token}' \\
    -d '{"query":"{ runs(first: 5) { edges { node { id status pipeline { name } progress { recordsRead recordsRejected } } } } }"}'
`);
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
}

function clientsOf(clients: ReadonlyMap<string, Clients>, agency: string): Clients {
  const found = clients.get(agency);
  if (!found) throw new TypeError(`no client for ${agency}`);
  return found;
}

function pids(stack: Stack): string {
  return stack
    .workers()
    .map(({ id, pid }) => `${id} (pid ${String(pid)})`)
    .join(', ');
}

function secondsSince(start: number): string {
  return ((performance.now() - start) / 1000).toFixed(1);
}
