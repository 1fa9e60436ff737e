import { spawn } from 'node:child_process';
import { chown, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { randomBytes, randomHex } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import { ensureFolder, ensureHome, homePaths, readJson, writeSecret } from '../home.ts';
import { type Binaries, locateBinaries } from './binaries.ts';
import { isTraversable, type OsUser, serverUser, sharedFolder } from './os-user.ts';

/**
 * One data folder and what is needed to run it. FLUX_HOME/postgres holds cluster.json (port, password, where the data are),
 * the server's log and, usually, the data; under root with a closed FLUX_HOME the data lie below /var/lib/flux-etl.
 */
export interface Cluster {
  folder: string;
  dataFolder: string;
  logFile: string;
  password: string;
  /** The port of the last start; another one is chosen when it is taken. */
  port: number | undefined;
  /** Whom root lends to the server. */
  user: OsUser | undefined;
  binaries: Binaries;
  rememberPort(port: number): Promise<void>;
}

interface ClusterFile {
  port?: number;
  password: string;
  /** Relative to FLUX_HOME/postgres, so that FLUX_HOME can move; absolute when the data lie elsewhere. */
  dataFolder: string;
}

/** initdb takes 1.5 s; a machine under load may need many times that, and none needs this. */
const initdbDeadlineMs = 120_000;

/**
 * Opens FLUX_HOME's cluster, creating it the first time. A creation that was interrupted leaves nothing that counts.
 *
 * @throws DATA_DIRECTORY_INCOMPATIBLE the data belong to another major version, or are no cluster
 * @throws CONFIG_INVALID FLUX_HOME cannot be read or written
 * @throws UNAVAILABLE the programs do not run here
 */
export async function openCluster(home: string): Promise<Cluster> {
  const folder = homePaths(home).postgres;
  await ensureHome(home);
  await ensureFolder(folder, 0o711);
  const stored = (await readJson(path.join(folder, 'cluster.json'))) as ClusterFile | undefined;
  const file = stored ?? (await newClusterFile(folder));
  const dataFolder = path.resolve(folder, file.dataFolder);
  const user = await serverUser(dataFolder);
  const binaries = await locateBinaries(user, folder);
  const cluster: Cluster = {
    folder,
    dataFolder,
    logFile: path.join(folder, 'postgres.log'),
    password: file.password,
    port: file.port,
    user,
    binaries,
    rememberPort: (port) => writeSecret(path.join(folder, 'cluster.json'), JSON.stringify({ ...file, port }, null, 2)),
  };
  if (await hasData(cluster, stored === undefined)) return cluster;
  if (!stored) await writeSecret(path.join(folder, 'cluster.json'), JSON.stringify(file, null, 2));
  await initialise(cluster);
  return cluster;
}

async function newClusterFile(folder: string): Promise<ClusterFile> {
  const user = await serverUser(path.join(folder, 'data'));
  const reachable = !user || (await isTraversable(folder, user));
  return {
    password: randomBytes(24).toString('base64url'),
    // A random name: an earlier FLUX_HOME of the same path that was deleted must not come back with its data.
    dataFolder: reachable ? 'data' : path.join(sharedFolder, 'clusters', randomHex(8), 'data'),
  };
}

/** Whether the data folder holds a cluster of our major version; false when there is none yet. */
async function hasData({ dataFolder, binaries }: Cluster, isNew: boolean): Promise<boolean> {
  let major: string;
  try {
    major = (await readFile(path.join(dataFolder, 'PG_VERSION'), 'utf8')).trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT') {
      throw new FluxError(
        'CONFIG_INVALID',
        `The data folder ${dataFolder} belongs to another OS user (${String(code)}). Run Flux as that user, or set FLUX_HOME to a folder of your own.`,
        { cause },
      );
    }
    const entries = await readdir(dataFolder).catch(() => []);
    if (entries.length === 0) return false;
    throw incompatible(dataFolder, 'holds files but no PostgreSQL cluster', binaries);
  }
  if (major !== String(binaries.major)) throw incompatible(dataFolder, `belongs to PostgreSQL ${major}`, binaries);
  if (!isNew) return true;
  throw new FluxError(
    'CONFIG_INVALID',
    `${dataFolder} holds data, but cluster.json with its password is missing beside it. Restore that file, or remove FLUX_HOME to start empty.`,
  );
}

function incompatible(dataFolder: string, found: string, binaries: Binaries): FluxError {
  return new FluxError(
    'DATA_DIRECTORY_INCOMPATIBLE',
    `The data folder ${dataFolder} ${found}; this Flux brings PostgreSQL ${String(binaries.major)}. Set FLUX_HOME to another folder, or run a server of that version over it and set DATABASE_URL.`,
    { details: { dataFolder, expectedMajor: binaries.major } },
  );
}

/**
 * initdb works in a folder of its own beside the data and a rename makes it count. The name is new each time: the initdb of a
 * killed supervisor may still run, and when its folder goes it empties what it finds under that name.
 */
async function initialise(cluster: Cluster): Promise<void> {
  const { dataFolder, user } = cluster;
  const parent = path.dirname(dataFolder);
  if (parent !== cluster.folder) {
    await ensureFolder(sharedFolder, 0o755);
    await ensureFolder(path.dirname(parent), 0o711);
    await ensureFolder(parent, 0o711);
  }
  const draft = `${dataFolder}.new-${randomHex(6)}`;
  const passwordFile = path.join(parent, `password-${randomHex(6)}`);
  await removeDrafts(dataFolder);
  try {
    await mkdir(draft, { mode: 0o700 });
    await writeFile(passwordFile, `${cluster.password}\n`, { mode: 0o600 });
    if (user) await Promise.all([draft, passwordFile].map((file) => chown(file, user.uid, user.gid)));
    await runInitdb(cluster, draft, passwordFile);
    await rm(dataFolder, { recursive: true, force: true });
    await rename(draft, dataFolder);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(draft, { recursive: true, force: true });
  }
}

/** What interrupted creations left. One that is still being written to may not go yet; the next creation tries again. */
async function removeDrafts(dataFolder: string): Promise<void> {
  const parent = path.dirname(dataFolder);
  const drafts = (await readdir(parent)).filter((entry) => entry.startsWith(`${path.basename(dataFolder)}.new`));
  await Promise.all(
    drafts.map((entry) => rm(path.join(parent, entry), { recursive: true, force: true }).catch(() => undefined)),
  );
}

/**
 * The locale is said in full, because with LANG unset initdb makes a cluster of SQL_ASCII. The built-in provider sorts
 * alike on every machine.
 */
async function runInitdb(
  { binaries, logFile, user }: Cluster,
  dataFolder: string,
  passwordFile: string,
): Promise<void> {
  const log = await open(logFile, 'a', 0o600);
  try {
    const child = spawn(
      binaries.initdb,
      [
        `--pgdata=${dataFolder}`,
        '--username=postgres',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--no-instructions',
      ],
      {
        ...user,
        cwd: '/',
        env: serverEnvironment(),
        stdio: ['ignore', log.fd, log.fd],
        timeout: initdbDeadlineMs,
        killSignal: 'SIGKILL',
      },
    );
    const outcome = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(code === 0 ? '' : `it ended with ${signal ?? String(code)}`));
    });
    if (outcome !== '') {
      throw new FluxError(
        'UNAVAILABLE',
        `initdb could not create the database cluster: ${outcome}. See ${logFile}, or set DATABASE_URL.`,
      );
    }
  } finally {
    await log.close();
  }
}

/** Nothing of the caller's environment reaches the server: PG* and LC_* would change what it does. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}
