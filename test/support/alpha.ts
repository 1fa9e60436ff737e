/** One agency, alpha, on a whole `flux up` of its own: what tests of a running installation have in common. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { flux, type FluxProcess, freePort, startFlux, temporaryFolder } from './flux.ts';

/** As `flux agencies add` takes it. */
export const alphaManifest = {
  slug: 'alpha',
  name: 'Agency Alpha',
  abbreviation: 'AA',
  supported_content_types: ['text'],
  supported_use_cases: ['research'],
};

export interface AlphaOptions {
  /** The rows of readings.csv below its heading, `year`. */
  readings: readonly string[];
  args?: readonly string[];
  env?: Record<string, string>;
}

export interface Alpha {
  readonly home: string;
  readonly up: FluxProcess;
  /** http://127.0.0.1:PORT */
  readonly api: string;
  readonly metrics: string;
  /** An administrator's. */
  readonly token: string;
  /** Puts a file among the agency's sources. @returns its path */
  write(name: string, content: unknown): Promise<string>;
  /** Runs `flux ARGS` to its end. @throws it did not end with 0 @returns what it printed */
  run(args: readonly string[], env?: Record<string, string>): Promise<string>;
  /** Everything that `run` has printed, but for tokens. */
  readonly spoken: readonly string[];
  /** Registers a document as the administrator. A contract has its file's name. */
  register(kind: 'connections' | 'contracts' | 'pipelines', name: string, document: object): Promise<string>;
  /** Stops it. @returns all that it has said */
  stop(): Promise<string>;
  remove(): Promise<void>;
}

export async function startAlpha(name: string, { readings, args = [], env = {} }: AlphaOptions): Promise<Alpha> {
  const { folder, remove } = await temporaryFolder(name);
  const home = path.join(folder, 'home');
  const files = path.join(folder, 'files');
  await mkdir(files, { mode: 0o755 });
  const write = async (file: string, content: unknown): Promise<string> => {
    const at = path.join(files, file);
    await writeFile(at, typeof content === 'string' ? content : JSON.stringify(content));
    return at;
  };
  await write('readings.csv', `year\n${readings.join('\n')}\n`);
  const [port, metricsPort] = [await freePort(), await freePort()];
  const up = startFlux(['up', '--workers', '1', ...args], {
    home,
    env: {
      FLUX_PORT: String(port),
      FLUX_METRICS_PORT: String(metricsPort),
      FLUX_SOURCE_ROOTS: JSON.stringify({ alpha: [files] }),
      ...env,
    },
  });
  await up.says(/Flux is up/);
  const spoken: string[] = [];
  const run = async (given: readonly string[], own: Record<string, string> = {}): Promise<string> => {
    const ended = await flux(given, { home, env: own });
    if (ended.code !== 0) throw new Error(`flux ${given.join(' ')}: ${JSON.stringify(ended)}`);
    if (given[0] !== 'token') spoken.push(ended.stdout, ended.stderr);
    return ended.stdout;
  };
  await run(['agencies', 'add', await write('alpha.json', alphaManifest)]);
  const token = (await run(['token', '--agency', 'alpha', '--role', 'admin', '--sub', 'pat@example.gov'])).trim();
  return {
    home,
    up,
    api: `http://127.0.0.1:${String(port)}`,
    metrics: `http://127.0.0.1:${String(metricsPort)}/metrics`,
    token,
    spoken,
    write,
    run,
    register: async (kind, file, document) =>
      run([kind, 'register', await write(`${file}.json`, document)], { FLUX_TOKEN: token }),
    async stop() {
      up.kill('SIGTERM');
      const { stdout, stderr } = await up.ended;
      return stdout + stderr;
    },
    async remove() {
      up.kill('SIGKILL');
      await up.ended;
      await remove();
    },
  };
}
