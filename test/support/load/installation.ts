/**
 * An installation of real processes on one database: API, workers and sealer, each from whichever copy of the product it is told to, and a
 * balancer before the API. Agencies have a source each, and every user of them a pipeline and a dataset of its own.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { localIssuer } from '../../../src/auth/local-issuer.ts';
import { ensureKeys } from '../../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../../src/keys/key-encryption.ts';
import { provisionTestAgency } from '../agency.ts';
import { connectionDocument, pipelineDocument } from '../api.ts';
import { type Ended, eventually, flux, type FluxProcess, freePort, startFlux } from '../flux.ts';
import { startTcpProxy } from '../tcp-proxy.ts';

export interface InstallationOptions {
  /** An empty folder: home, sources and objects go there. */
  folder: string;
  adminUrl: string;
  contextKey: Buffer;
  dataKey: Buffer;
  agencies: readonly string[];
  /** Records of each agency's source. */
  records: number;
}

export type Command = 'serve' | 'worker' | 'sealer';

/** A process that is ready. */
export interface Running {
  readonly command: Command;
  readonly process: FluxProcess;
  readonly metricsUrl: string;
  /** 0 unless it serves. */
  readonly port: number;
}

export interface Installation {
  /** The balancer's. */
  readonly url: string;
  /** Starts a process, and puts it into service when /health/ready says so. */
  start(command: Command, checkout?: string): Promise<Running>;
  /** Takes a process out of service, then tells it to stop. @returns how it ended */
  stop(running: Running): Promise<Ended>;
  /** Runs `flux ARGS` with the operator's rights. */
  operate(args: readonly string[], checkout?: string): Promise<Ended>;
  token(agency: string, role: 'admin' | 'operator', subject: string): Promise<string>;
  /** Kills what still runs. */
  close(): Promise<void>;
}

/** A record's place in each answer is known by its agency's name, which every record of it has. */
const headOfSource = 'agency,year';

export const loadContract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Reading',
  type: 'object',
  properties: { agency: { type: 'string' }, year: { type: 'integer' } },
  required: ['agency', 'year'],
  additionalProperties: false,
};

export const loadConnection = connectionDocument;

/** The pipeline of one user. Runs of it replace its dataset, which has its name. */
export function loadPipeline(name: string, batchRecords: number): Record<string, unknown> {
  return pipelineDocument(name, {
    contract: { name: 'reading', version: 1 },
    destination: { type: 'postgres', dataset: name, mode: 'replace' },
    batch: { records: batchRecords },
  });
}

export async function openInstallation(options: InstallationOptions): Promise<Installation> {
  const { folder, adminUrl, contextKey, dataKey, agencies } = options;
  const home = path.join(folder, 'home');
  const sources = (agency: string): string => path.join(folder, 'sources', agency);
  for (const agency of agencies) {
    await provisionTestAgency({ adminUrl, contextKey }, agency, {});
    await mkdir(sources(agency), { recursive: true });
    const lines = Array.from({ length: options.records }, (_, i) => `${agency},${String(1900 + (i % 120))}`);
    await writeFile(path.join(sources(agency), 'readings.csv'), `${headOfSource}\n${lines.join('\n')}\n`);
  }
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:load', encryption: localKeyEncryption(dataKey) });
  await mkdir(home);
  const issuer = await localIssuer(home);
  const env = {
    DATABASE_URL: adminUrl,
    FLUX_CONTEXT_KEY: contextKey.toString('hex'),
    FLUX_DATA_KEY: dataKey.toString('hex'),
    FLUX_AUDIT_ANCHOR: path.join(folder, 'anchor'),
    FLUX_SOURCE_ROOTS: JSON.stringify(Object.fromEntries(agencies.map((agency) => [agency, [sources(agency)]]))),
  };
  const all: Running[] = [];
  let serving: Running[] = [];
  let turn = 0;
  const balancer = await startTcpProxy(() => {
    turn += 1;
    return serving[turn % serving.length]?.port ?? 0;
  });

  const spawn = async (command: Command, checkout?: string): Promise<Running> => {
    const port = command === 'serve' ? await freePort() : 0;
    const metricsPort = await freePort();
    const process = startFlux([command], {
      home,
      env: { ...env, FLUX_PORT: String(port), FLUX_METRICS_PORT: String(metricsPort), LOG_LEVEL: 'warn' },
      ...(checkout === undefined ? {} : { checkout }),
    });
    return { command, process, port, metricsUrl: `http://127.0.0.1:${String(metricsPort)}` };
  };

  return {
    url: balancer.url,
    async start(command, checkout) {
      for (let tries = 1; ; tries += 1) {
        const running = await spawn(command, checkout);
        all.push(running);
        const how = await whenReady(running);
        if (how === 'ready') {
          if (command === 'serve') serving = [...serving, running];
          return running;
        }
        // Somebody may take a port between the moment in which it was free and the one in which the process is far enough.
        if (tries === 3 || !how.stderr.includes('PORT_IN_USE')) {
          throw new Error(`flux ${command} ended: ${JSON.stringify(how)}`);
        }
      }
    },
    stop({ process, port }) {
      serving = serving.filter((other) => other.port !== port);
      process.kill('SIGTERM');
      return process.ended;
    },
    operate: (args, checkout) => flux(args, { home, env, ...(checkout === undefined ? {} : { checkout }) }),
    token: (agency, role, subject) => issuer.sign({ agency, role, subject, minutes: 60 }, 'flux'),
    async close() {
      await balancer.close();
      for (const { process } of all) process.kill('SIGKILL');
      await Promise.all(all.map(({ process }) => process.ended));
    },
  };
}

export async function isReady({ metricsUrl }: Running): Promise<boolean> {
  const response = await fetch(`${metricsUrl}/health/ready`).catch(() => undefined);
  return response?.status === 200;
}

/** Waits for a process to be ready, or to have ended instead. */
async function whenReady(running: Running): Promise<'ready' | Ended> {
  let ended: Ended | undefined;
  void running.process.ended.then((how) => (ended = how));
  return eventually(
    async () => ended ?? ((await isReady(running)) ? 'ready' : undefined),
    (found) => found !== undefined,
    120_000,
  ) as Promise<'ready' | Ended>;
}
