/**
 * A base backup and the write-ahead log, and a server that is made of both, on the programs of the embedded PostgreSQL. It brings no
 * pg_basebackup, so the backup is made by the same functions of the server that pg_basebackup and Barman use.
 *
 * @see PostgreSQL documentation, 25.3.2 "Making a Base Backup Using the Low Level API" and 25.3.5 "Recovering Using a Continuous Archive Backup"
 */
import { chmod, chown, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';

/** Settings under which a server keeps its log in `archive`. */
export function archivingTo(archive: string): Record<string, string> {
  return { archive_mode: 'on', archive_command: `test ! -f "${archive}/%f" && cp "%p" "${archive}/%f"` };
}

/** A folder that the server's OS user may write, beside its data. */
export async function makeArchive(home: string, archive: string): Promise<void> {
  const { uid, gid } = await stat(await dataFolder(home));
  await mkdir(archive, { recursive: true });
  await chown(archive, uid, gid);
}

async function dataFolder(home: string): Promise<string> {
  const folder = path.join(home, 'postgres');
  const { dataFolder: data } = JSON.parse(await readFile(path.join(folder, 'cluster.json'), 'utf8')) as {
    dataFolder: string;
  };
  return path.resolve(folder, data);
}

/** Copies the files of a running server; what changes meanwhile, the log makes good. */
export async function baseBackup(adminUrl: string, home: string, backup: string): Promise<void> {
  const connection = await connect({ url: adminUrl, applicationName: 'base backup' });
  try {
    await connection.query(sql`select pg_backup_start('flux', fast => true)`);
    const data = await dataFolder(home);
    const left = new Set(['postmaster.pid', 'postmaster.opts', 'pg_wal', 'pg_stat_tmp', 'pg_replslot']);
    await cp(data, backup, { recursive: true, filter: (file) => !left.has(path.relative(data, file)) });
    const { rows } = await connection.query<{ labelfile: string }>(
      sql`select labelfile from pg_backup_stop(wait_for_archive => true)`,
    );
    await writeFile(path.join(backup, 'backup_label'), rows[0]?.labelfile ?? '');
    for (const empty of ['pg_wal', 'pg_wal/archive_status', 'pg_stat_tmp', 'pg_replslot'])
      await mkdir(path.join(backup, empty));
  } finally {
    await connection.end();
  }
}

/** Lays out a new server's home from the backup; it replays the log up to `moment` at its first start, and then takes writes. */
export async function layOutRestore(options: {
  from: string;
  backup: string;
  archive: string;
  home: string;
  moment: string;
}): Promise<void> {
  const { archive, moment } = options;
  await layOut(options, await stat(archive), 'recovery.signal', [
    `restore_command = 'cp "${archive}/%f" "%p"'`,
    `recovery_target_time = '${moment}'`,
    `recovery_target_action = 'promote'`,
  ]);
}

/** Lays out a new server's home from the backup; it follows the server of `of`, an admin's URL, through its slot. */
export async function layOutReplica(options: {
  from: string;
  backup: string;
  home: string;
  of: string;
  slot: string;
}): Promise<void> {
  const { hostname, port, username, password } = new URL(options.of);
  const primary = `host=${hostname} port=${port} user=${username} password=${decodeURIComponent(password)}`;
  await layOut(options, await stat(await dataFolder(options.from)), 'standby.signal', [
    `primary_conninfo = '${primary}'`,
    `primary_slot_name = '${options.slot}'`,
  ]);
}

async function layOut(
  { from, backup, home }: { from: string; backup: string; home: string },
  owner: { uid: number; gid: number },
  signal: string,
  settings: string[],
): Promise<void> {
  const target = path.join(home, 'postgres', 'data');
  await mkdir(path.dirname(target), { recursive: true });
  await chmod(home, 0o711);
  await chmod(path.dirname(target), 0o711);
  const cluster = JSON.parse(await readFile(path.join(from, 'postgres', 'cluster.json'), 'utf8')) as object;
  await writeFile(
    path.join(home, 'postgres', 'cluster.json'),
    JSON.stringify({ ...cluster, port: undefined, dataFolder: 'data' }),
    { mode: 0o600 },
  );
  await cp(backup, target, { recursive: true });
  await writeFile(path.join(target, signal), '');
  await writeFile(path.join(target, 'postgresql.auto.conf'), [...settings, ''].join('\n'));
  await ownAll(target, owner.uid, owner.gid);
  await chmod(target, 0o700);
}

async function ownAll(folder: string, uid: number, gid: number): Promise<void> {
  await chown(folder, uid, gid);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    await chown(path.join(entry.parentPath, entry.name), uid, gid);
  }
}

/** Closes the segment that is being written, so that the archive holds all that was committed. */
export async function archiveAll(adminUrl: string): Promise<void> {
  const connection = await connect({ url: adminUrl, applicationName: 'archive' });
  try {
    await connection.query(sql`select pg_switch_wal()`);
  } finally {
    await connection.end();
  }
}

export async function loseServer(home: string): Promise<void> {
  await rm(await dataFolder(home), { recursive: true, force: true });
}
