import { describe, expect, it } from 'vitest';

import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import type { EtlEngine } from '../../src/etl/engine-types.ts';
import { useDatabase } from '../support/database.ts';
import { useField } from '../support/field.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const field = useField(database, bench, 'hhs');

interface Person {
  id: number;
  state: string;
  age: number | null;
}
type Row = Record<'state' | 'age', unknown>;

/** Written in several ways, so that what reads alike is several groups; many groups of every size, over every batch. */
const states = ['MD', 'md', 'MD ', ' MD', 'Ma\u00f1a', 'Man\u0303a', 'VA', 'VA\u00a0'];
const people: readonly Person[] = Array.from({ length: 600 }, (_each, i) => ({
  id: i + 1,
  state: i % 97 === 0 ? '' : String(states[(i * i + (i >> 4)) % states.length]),
  age: i % 89 === 0 ? null : (i * 7) % 90,
}));
const columns = ['state', 'age'];
const k = 6;
const kAnonymity = { k, columns };
const sterilise = { type: 'sterilise', generalise: { age: { band: 10 } }, kAnonymity };

const csvOf = (list: readonly Person[]): string =>
  `id,state,age\n${list.map(({ id, state, age }) => `${String(id)},"${state}",${String(age ?? '')}`).join('\n')}\n`;

async function pipeline(
  name: string,
  transforms: readonly object[],
  more: Record<string, unknown> = {},
): Promise<void> {
  const properties = { id: { type: 'integer' }, state: { type: 'string' }, age: { type: ['integer', 'null'] } };
  await field.put(`${name}.csv`, csvOf(people));
  await field.contract(name, properties, { required: ['id'] });
  await field.pipeline(name, {
    source: { connection: 'files', path: `${name}.csv`, format: { type: 'csv', header: true } },
    contract: { name, version: 1 },
    transforms,
    batch: { records: 40 },
    ...more,
  });
}

async function run(name: string) {
  const { id } = await field.start(name);
  await field.drain();
  return readRun(database, id);
}
const proofOf = ({ events }: Awaited<ReturnType<typeof run>>): unknown => events.at(-1)?.data['privacy'];

/** The groups of what was read, by nothing that Flux has: bands by arithmetic, and the values as they were written. */
function groupsOf(list: readonly Person[]): Map<string, number> {
  const groups = new Map<string, number>();
  for (const { state, age } of list) {
    const key = JSON.stringify([state, age === null ? null : Math.floor(age / 10) * 10]);
    groups.set(key, (groups.get(key) ?? 0) + 1);
  }
  return groups;
}
const keptOf = (list: readonly Person[], k: number) => new Map([...groupsOf(list)].filter(([, size]) => size >= k));
const sum = (sizes: Iterable<number>): number => [...sizes].reduce((total, size) => total + size, 0);
function loadedGroups(rows: readonly Record<string, unknown>[]): Map<string, number> {
  const groups = new Map<string, number>();
  for (const { state, age } of rows as readonly Row[]) {
    const key = JSON.stringify([state, age === null ? null : Number(age)]);
    groups.set(key, (groups.get(key) ?? 0) + 1);
  }
  return groups;
}
function expectedProof(list: readonly Person[]): object {
  const kept = keptOf(list, k);
  const suppressed = list.length - sum(kept.values());
  return { rule: 'k-anonymity', k, columns, groups: kept.size, smallest: Math.min(...kept.values()), suppressed };
}

describe('k-anonymity', () => {
  it('counts by what is written, over all batches: the proof is what anybody else would count', async () => {
    const sizes = [...groupsOf(people).values()];
    expect(sizes.some((size) => size < k) && sizes.some((size) => size >= k)).toBe(true);
    await pipeline('counted', [sterilise]);
    const counted = await run('counted');
    expect(counted.status).toBe('COMPLETED');
    expect(loadedGroups(await field.rows('counted', 'state age'))).toEqual(keptOf(people, k));
    expect(proofOf(counted)).toEqual([expectedProof(people)]);
  });

  it('and its counts are the same where a run is resumed in the middle, before and after the groups are made', async () => {
    for (const [name, breaksAt] of [
      ['resumed-early', 4],
      ['resumed-late', 17],
    ] as const) {
      await pipeline(name, [sterilise]);
      const { id } = await field.start(name);
      await field.drain(breaksBefore(breaksAt));
      expect(await readRun(database, id)).toMatchObject({ status: 'FAILED', batches: breaksAt });
      const ctx = field.ctx();
      await resumeRun(ctx.api, ctx, { runId: id, reason: 'repaired', idempotencyKey: null });
      await field.drain();
      const resumed = await readRun(database, id);
      expect(resumed.status).toBe('COMPLETED');
      expect(proofOf(resumed)).toEqual([expectedProof(people)]);
      expect(loadedGroups(await field.rows(name.replace('-', '_'), 'state age'))).toEqual(keptOf(people, k));
    }
  });

  it('holds in a dataset to which loads are appended, each proved by itself', async () => {
    const destination = { type: 'postgres', dataset: 'appended', mode: 'append' };
    await pipeline('appended', [sterilise], { destination });
    await run('appended');
    const later = people.slice(0, 501);
    await field.put('appended.csv', csvOf(later));
    const second = await run('appended');
    expect(proofOf(second)).toEqual([expectedProof(later)]);
    const all = loadedGroups(await field.rows('appended', 'state age'));
    expect(sum(all.values())).toBe(sum(keptOf(people, k).values()) + sum(keptOf(later, k).values()));
    expect(Math.min(...all.values())).toBeGreaterThanOrEqual(k);
  });

  it('is held by a dataset into which loads are merged: what leaves a group may not leave it too small', async () => {
    const merged = (dataset: string) => ({ destination: { type: 'postgres', dataset, mode: 'merge', key: ['id'] } });
    const group = (from: number, count: number, state: string): Person[] =>
      Array.from({ length: count }, (_each, i) => ({ id: from + i, state, age: 1 }));
    await pipeline('moved', [sterilise], merged('moved'));
    await field.put('moved.csv', csvOf([...group(1, 6, 'MD'), ...group(101, 8, 'VA')]));
    expect((await run('moved')).status).toBe('COMPLETED');
    // Six of their own, of which one was of MD.
    await field.put('moved.csv', csvOf(group(6, 6, 'DC')));
    const moved = await run('moved');
    expect(moved.status).toBe('FAILED');
    expect(moved.events.at(-1)?.data).toMatchObject({
      code: 'PRIVACY_NOT_HELD',
      message: expect.stringContaining('a group of 5 records alike in state, age, where 6 are asked for') as string,
    });
    expect(await field.rows('moved', 'id')).toHaveLength(14);
    await field.put('moved.csv', csvOf(group(113, 6, 'DC')));
    expect((await run('moved')).status).toBe('COMPLETED');

    // Six records, and one person.
    await pipeline('alike', [sterilise], merged('alike'));
    await field.put('alike.csv', csvOf(group(1, 6, 'MD').map((person) => ({ ...person, id: 7 }))));
    expect((await run('alike')).events.at(-1)?.data).toMatchObject({ code: 'PRIVACY_NOT_HELD' });
  });

  it('is proved under the names that its columns have in the load', async () => {
    await pipeline('renamed', [sterilise, { type: 'rename', columns: { state: 'home', age: 'band' } }]);
    expect(proofOf(await run('renamed'))).toEqual([{ ...expectedProof(people), columns: ['home', 'band'] }]);
    const thins = { type: 'filter', rule: 'a few', sql: 'id % 3 = 0' };
    await pipeline('thinned', [sterilise, { type: 'rename', columns: { state: 'home' } }, thins]);
    expect((await run('thinned')).events.at(-1)?.data).toMatchObject({ code: 'PRIVACY_NOT_HELD' });

    // As the source names it.
    await pipeline('headed', [{ type: 'sterilise', kAnonymity: { k: 20, columns: ['Home State'] } }], {
      source: { connection: 'files', path: 'headed.csv', format: { type: 'csv', header: true } },
    });
    await field.contract('headed', { 'Home State': { type: 'string' } });
    await field.pipeline('headed', {
      source: { connection: 'files', path: 'headed.csv', format: { type: 'csv', header: true } },
      contract: { name: 'headed', version: 2 },
      transforms: [{ type: 'sterilise', kAnonymity: { k: 20, columns: ['Home State'] } }],
    });
    await field.put('headed.csv', `Home State\n${'MD\n'.repeat(30)}${'VA\n'.repeat(19)}`);
    expect(proofOf(await run('headed'))).toEqual([
      { rule: 'k-anonymity', k: 20, columns: ['home_state'], groups: 1, smallest: 30, suppressed: 19 },
    ]);
  });

  it('says so where nothing is left to count, and counts what each block suppressed', async () => {
    const once = { type: 'sterilise', kAnonymity: { k: 30, columns: ['state'] } };
    await pipeline('gone', [
      once,
      { ...sterilise, generalise: { age: { band: 10 } } },
      { type: 'sterilise', drop: ['age'] },
    ]);
    const gone = await run('gone');
    expect(gone.events.at(-1)?.data).toMatchObject({ reconciled: true });
    const [first, second] = proofOf(gone) as Record<string, unknown>[];
    const sizes = new Map<string, number>();
    for (const { state } of people) sizes.set(state, (sizes.get(state) ?? 0) + 1);
    const left = people.filter(({ state }) => (sizes.get(state) ?? 0) >= 30);
    const { suppressed } = expectedProof(left) as { suppressed: number };
    expect(first).toMatchObject({ rule: 'k-anonymity', k: 30, suppressed: people.length - left.length });
    expect(second).toEqual({ rule: 'k-anonymity', k, columns, proved: false, suppressed });
  });
});

describe('a minimum cell', () => {
  it('takes cells below it, nulls among them, leaves zeros, and says that totals are not looked at', async () => {
    await pipeline('cells', [{ type: 'sterilise', minimumCell: { count: 'age', minimum: 10 } }]);
    const cells = await run('cells');
    const kept = people.filter(({ age }) => age !== null && (age >= 10 || age === 0));
    const some = kept.flatMap(({ age }) => (age ? [age] : []));
    expect(proofOf(cells)).toEqual([
      {
        rule: 'minimum-cell',
        minimum: 10,
        column: 'age',
        smallest: Math.min(...some),
        complementary: 'not checked',
        suppressed: people.length - kept.length,
      },
    ]);
    expect((await field.rows('cells', 'id')).map(({ id }) => Number(id))).toEqual(kept.map(({ id }) => id));
  });
});

/** Fails for good instead of a partition's batch. */
function breaksBefore(count: number): EtlEngine {
  return {
    ...field.engine,
    async *openBatches(request) {
      let seen = 0;
      for await (const batch of field.engine.openBatches(request)) {
        if (seen === count) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
        seen += 1;
        yield batch;
      }
    },
  };
}
