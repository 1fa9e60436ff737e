/**
 * A release's migrations add to what the release before works with and take nothing from it (docs/operations/upgrade.md): its processes
 * go on beside them. Every migration that the last release has not is applied to a server, and what the catalogue promises compared.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { describe, expect, test } from 'vitest';

import { type Migration, migrate, readMigrations } from '../../src/db/migrate.ts';
import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { type CatalogueFacts, readCatalogueFacts, takenAway } from '../support/catalogue-facts.ts';
import { useDatabase } from '../support/database.ts';
import { withEmptyDatabase } from '../support/scratch.ts';

interface Released {
  /** The versions of the migrations that the last release has. */
  migrations: number[];
  /** What a migration may take all the same, in the words of `takenAway`, and why no process of the release before misses it. */
  exceptions: Record<string, string>;
}
const released = JSON.parse(
  readFileSync(new URL('../../migrations/released.json', import.meta.url), 'utf8'),
) as Released;
const contextKey = randomBytes(32);

/** Applies histories one after the other. @returns what the catalogue promises after each */
async function factsAfter(adminUrl: string, histories: readonly (readonly Migration[])[]): Promise<CatalogueFacts[]> {
  const connection = await connect({ url: adminUrl, applicationName: 'migration test' });
  try {
    const facts: CatalogueFacts[] = [];
    for (const migrations of histories) {
      await migrate(adminUrl, { contextKey, migrations });
      facts.push(await readCatalogueFacts(connection));
    }
    return facts;
  } finally {
    await connection.end();
  }
}

const fileOf = ({ version, name }: Migration): string => `${String(version).padStart(4, '0')}_${name}`;

/** What the migrations after the first `count` take from those, each with the file that is the first to take it. */
async function takenAfter(count: number, all: readonly Migration[]): Promise<Map<string, string>> {
  const newer = all.slice(count);
  const histories = [all.slice(0, count), ...newer.map((_, i) => all.slice(0, count + i + 1))];
  const [before, ...after] = await withEmptyDatabase(({ adminUrl }) => factsAfter(adminUrl, histories));
  const first = new Map<string, string>();
  for (const [i, migration] of newer.entries()) {
    for (const taken of takenAway(before as CatalogueFacts, after[i] as CatalogueFacts)) {
      if (!first.has(taken)) first.set(taken, fileOf(migration));
    }
  }
  return first;
}

test('every migration since the last release only adds', async () => {
  const all = await readMigrations();
  const isKnown = ({ version }: Migration): boolean => released.migrations.includes(version);
  const known = all.filter(isKnown);
  expect(known.map(({ version }) => version)).toEqual(released.migrations);
  const taken = await takenAfter(known.length, [...known, ...all.filter((migration) => !isKnown(migration))]);
  const unexplained = [...taken].filter(([what]) => !(what in released.exceptions));
  expect(unexplained, 'add beside it instead, or say in migrations/released.json why nobody misses it').toEqual([]);
  const unneeded = Object.keys(released.exceptions).filter((what) => !taken.has(what));
  expect(unneeded, 'an exception that excuses nothing').toEqual([]);
  for (const reason of Object.values(released.exceptions)) expect(reason.length).toBeGreaterThan(30);
});

test('the first of several migrations that takes something is named', async () => {
  const all = await readMigrations();
  const texts = [
    'alter table flux.runs add column note text',
    'alter table flux.runs drop column reason',
    'alter table flux.runs drop column note',
  ];
  const newer = texts.map((text, i) => ({ version: 9_000 + i, name: 'next', text, sha256: Buffer.alloc(32) }));
  // The column `note` came and went between two releases: nobody can miss it.
  expect(await takenAfter(all.length, [...all, ...newer])).toEqual(
    new Map([['column runs.reason is gone', '9001_next']]),
  );
});

describe('the comparison', () => {
  const database = useDatabase();

  /** What a migration of this text would take from the release as it is. */
  async function takenBy(text: string): Promise<string[]> {
    const connection = await connect({ url: database.adminUrl, applicationName: 'migration test' });
    try {
      const before = await readCatalogueFacts(connection);
      await connection.query(sql`begin`);
      await connection.query(sql`select set_config('role', ${database.roles.owner}, true)`);
      await connection.client.query(text.replaceAll(/\bflux_api\b/g, database.roles.api));
      return takenAway(before, await readCatalogueFacts(connection));
    } finally {
      await connection.end();
    }
  }

  test('lets pass what adds', async () => {
    const taken = await takenBy(`
      alter table flux.runs add column note text, add column weight integer not null default 1;
      create table flux.notes (agency_id text not null, note text not null check (note <> ''), unique (agency_id, note));
      create index runs_note on flux.runs (agency_id, note);
      create function flux.note_count(agency text) returns bigint language sql return 1;
      alter table flux.runs drop constraint runs_stage_check;
      alter table flux.runs add constraint runs_stage_check
        check (stage in ('INGEST', 'TRANSFORM', 'EXPORT', 'FULL', 'ARCHIVE'));
      alter table flux.runs alter column requested_by drop not null;
      grant select on flux.notes to flux_api;
    `);
    expect(taken).toEqual([]);
  });

  test.each([
    ['drops a table', 'drop table flux.webhook_deliveries', /^column webhook_deliveries\.\w+ is gone$/m],
    ['drops a column', 'alter table flux.runs drop column reason', /^column runs\.reason is gone$/m],
    ['renames a column', 'alter table flux.runs rename reason to why', /^column runs\.reason is gone$/m],
    ['renames a table', 'alter table flux.webhooks rename to hooks', /^column webhooks\.\w+ is gone$/m],
    [
      'changes a type',
      'alter table flux.runs alter column forked_version type bigint',
      /^column runs\.forked_version is bigint instead of integer$/m,
    ],
    [
      'asks for what was not asked for',
      'alter table flux.runs alter column reason set not null',
      /^column runs\.reason may not be null any more$/m,
    ],
    [
      'adds what nobody fills',
      'alter table flux.runs add column note text not null',
      /^column runs\.note is new, not null and without a default$/m,
    ],
    [
      'drops a default',
      'alter table flux.runs alter column attempt drop default',
      /^column runs\.attempt has lost its default$/m,
    ],
    [
      'adds a condition',
      'alter table flux.runs add constraint short_reason check (length(reason) < 10) not valid',
      /^rule runs\.short_reason is new: CHECK/m,
    ],
    [
      'narrows a list of values',
      `alter table flux.runs drop constraint runs_stage_check;
       alter table flux.runs add constraint runs_stage_check check (stage in ('INGEST', 'EXPORT', 'FULL'))`,
      /^rule runs\.runs_stage_check has changed: CHECK/m,
    ],
    [
      'makes something unique',
      'create unique index one_trace on flux.runs (agency_id, trace_id)',
      /^rule runs\.flux\.one_trace is new: CREATE UNIQUE INDEX/m,
    ],
    ['drops a function', 'drop function flux.rescue_partitions()', /^function rescue_partitions\(\) is gone$/m],
    ['takes a grant', 'revoke select on flux.runs from flux_api', /^grant of select on runs to .*api is gone$/m],
    ['drops a policy', 'drop policy own_agency on flux.runs', /^policy own_agency of runs is gone$/m],
    [
      'narrows what is seen',
      'create policy recent on flux.runs as restrictive using (attempt = 1)',
      /^restrictive policy runs\.recent is new$/m,
    ],
  ])('refuses one that %s', async (_what, text, expected) => {
    const taken = await takenBy(text);
    expect(taken.join('\n')).toMatch(expected);
  });
});
