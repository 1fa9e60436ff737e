import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';

const checkout = path.join(import.meta.dirname, '..', '..', '..');
const parts = ['src', 'sdk', 'schema', 'resolvers', 'schemas', 'migrations', 'package.json'];

export interface NextRelease {
  /** Where it stands. */
  readonly checkout: string;
  readonly migration: { version: number; name: string };
}

/**
 * Makes the release that might come after this one: the same product under another version, with one migration more.
 *
 * @param folder to be made
 * @param migration what it adds; `next_release` names its file
 */
export async function makeNextRelease(folder: string, migration: string): Promise<NextRelease> {
  await mkdir(folder);
  for (const part of parts) await cp(path.join(checkout, part), path.join(folder, part), { recursive: true });
  await symlink(path.join(checkout, 'node_modules'), path.join(folder, 'node_modules'));
  const file = path.join(folder, 'package.json');
  const manifest = JSON.parse(await readFile(file, 'utf8')) as { version: string };
  await writeFile(file, JSON.stringify({ ...manifest, version: '999.0.0' }, null, 2));
  const migrations = path.join(folder, 'migrations');
  const newest = Math.max(...(await readdir(migrations)).map((name) => Number(/^(\d{4})_/.exec(name)?.[1] ?? 0)));
  const version = newest + 1;
  await writeFile(path.join(migrations, `${String(version).padStart(4, '0')}_next_release.sql`), migration);
  return { checkout: folder, migration: { version, name: 'next_release' } };
}
