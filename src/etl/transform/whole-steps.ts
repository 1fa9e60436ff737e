import { FluxError } from '../../errors.ts';
import { ident } from '../duckdb/sql-text.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import type { StepDeclaration } from '../engine-types.ts';

/** A step that needs all records at once. `from` has `_flux_record` and the columns; so has what the query gives. */
export interface WholeStep {
  declaration: StepDeclaration;
  /** The query that does the step; user SQL, which must see nothing else, is run apart (run-apart.ts). */
  query(from: string): string;
  apart?: string;
  /** Proves on the result what the step promises. @throws where it does not hold */
  prove?(session: DuckDbSession, table: string): Promise<void>;
}

const transformStep = (step: string, kind: StepDeclaration['kind']): StepDeclaration => ({
  stage: 'TRANSFORM',
  step: step.slice(0, 100),
  kind,
});

/** One record a key, by the source's order. Nulls are alike. */
export function deduplicateStep(key: readonly string[], keep: 'first' | 'last'): WholeStep {
  const order = `order by _flux_record ${keep === 'last' ? 'desc' : 'asc'}`;
  return {
    declaration: transformStep(`deduplicate ${key.join(', ')}`, 'deduplicate'),
    query: (from) => `
      select * from ${from}
      qualify row_number() over (partition by ${key.map(ident).join(', ')} ${order}) = 1`,
  };
}

/** Groups in the order of their keys. */
export function aggregateStep(
  groupBy: readonly string[],
  measures: readonly { name: string; expression: string }[],
): WholeStep {
  const keys = groupBy.map(ident).join(', ');
  const values = measures.map(({ name, expression }) => `${expression} as ${ident(name)}`).join(', ');
  return {
    declaration: transformStep(`aggregate by ${groupBy.join(', ')}`, 'aggregate'),
    query: (from) => `
      select row_number() over (order by ${groupBy.map((name) => `${ident(name)} nulls last`).join(', ')}) as _flux_record, *
      from (
        select ${keys}, ${values}
        from (select * from ${from} order by _flux_record)
        group by ${keys}
      )`,
  };
}

/** Suppresses the records of every group that has fewer than k alike in the columns. */
export function kAnonymityStep(k: number, columns: readonly string[]): WholeStep {
  const list = columns.map(ident).join(', ');
  return {
    declaration: transformStep(`k-anonymity ${String(k)} of ${columns.join(', ')}`, 'filter'),
    query: (from) => `select * from ${from} qualify count(*) over (partition by ${list}) >= ${k}`,
    async prove(session, table) {
      const [row] = await session.rows(
        `select coalesce(min(n), ${k})::bigint from (select count(*) as n from ${table} group by ${list})`,
      );
      if (Number(row?.[0]) >= k) return;
      throw new FluxError('INTERNAL', `A group of ${String(row?.[0])} records was left where ${k} were asked for.`);
    },
  };
}

/** A query over `records`, in its own order, or in that of its values where it says none. */
export function queryStep(sql: string, ordered: boolean): WholeStep {
  return {
    declaration: transformStep('sql', 'query'),
    query: (from) => `
      with records as (select * exclude (_flux_record) from ${from})
      select row_number() over () as _flux_record, * from (select * from (\n${sql}\n)${ordered ? '' : ' order by all'})`,
    apart: ordered ? sql : `select * from (\n${sql}\n) order by all`,
  };
}
