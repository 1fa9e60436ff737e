import type { FluxError } from '../../errors.ts';
import { joinedColumns } from '../../contracts/joins.ts';
import type { JoinTransform } from '../../contracts/documents.ts';
import { ident } from '../duckdb/sql-text.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { outputColumns } from '../export/output-columns.ts';
import type { LocalReference } from '../protocol.ts';
import type { ReferenceColumn } from '../staged-types.ts';
import { loadReference, referenceType } from './references.ts';

/** A join as a part of a query: what it adds to each record, and what tells which records found something. */
export interface CompiledJoin {
  step: string;
  /** Columns that are added, in order. */
  added: string[];
  /** @param query gives columns and `_flux_state`; its records come out once each, with those added and `_flux_matched` */
  join(query: string): string;
}

/**
 * Compiles a join, and reads what it joins into a table of the session. Keys are compared as values of one type: whole numbers and
 * decimals with each other, and every other type with itself.
 *
 * @param found.find the column that a name means; throws where there is none
 * @param found.misfit names what does not fit
 * @throws INVALID_INPUT it does not fit the records or the dataset
 * @throws REFERENCE_AMBIGUOUS, OBJECT_CORRUPTED, TRANSFORM_FAILED as the reading does
 */
export async function compileJoin(
  session: DuckDbSession,
  references: readonly LocalReference[],
  transform: JoinTransform,
  place: {
    at: number;
    columns: readonly { name: string }[];
    sample: string;
    find(name: string): string;
    misfit(message: string): FluxError;
  },
): Promise<CompiledJoin> {
  const { misfit } = place;
  const reference = references.find(({ dataset }) => dataset === transform.dataset);
  if (!reference) throw misfit(`joins the dataset "${transform.dataset}", of which the run has no records`);
  const columnOf = (name: string): ReferenceColumn => {
    const column = reference.columns.find((each) => each.name === name);
    if (column) return column;
    const names = reference.columns.map((each) => each.name).join(', ');
    throw misfit(`names the column "${name}" of the dataset ${reference.dataset}. Columns there: ${names}`);
  };
  const pairs = Object.entries(transform.on).map(([own, its]) => ({ own: place.find(own), its: columnOf(its) }));
  const made = joinedColumns(transform);
  for (const { name } of made) {
    if (place.columns.some((column) => column.name === name))
      throw misfit(`makes the column "${name}", which the record has already; name it otherwise in as`);
  }
  const described = await session.describe(
    `select ${pairs.map(({ own }, at) => `${ident(own)} as _flux_k${String(at)}`).join(', ')} from (${place.sample})`,
  );
  const conditions = pairs.map(({ own, its }, at) =>
    sameValue({ name: own, type: described[at]?.type ?? '' }, its, { at, misfit }),
  );
  const name = `_flux_reference_${String(place.at)}`;
  await loadReference(session, reference, {
    name,
    key: pairs.map(({ its }) => its),
    columns: made.map(({ from }) => columnOf(from)),
    duplicates: transform.duplicates ?? 'refuse',
  });
  const values = made.map((column, at) => `_flux_right._flux_c${String(at)} as ${ident(column.name)}`);
  return {
    step: `join ${transform.dataset}`,
    added: made.map((column) => column.name),
    join: (query) => `
      select _flux_left.*, ${values.join(', ')}, _flux_right._flux_matched
      from (${query}) _flux_left
      left join ${name} _flux_right on ${conditions.join(' and ')}`,
  };
}

/** The condition under which a record's value is the dataset's. */
function sameValue(
  own: { name: string; type: string },
  its: ReferenceColumn,
  { at, misfit }: { at: number; misfit(message: string): FluxError },
): string {
  const [written] = outputColumns([{ name: own.name, type: own.type }]);
  const types = `${written?.type ?? own.type} and ${its.type}`;
  const isNumber = (type: string | undefined): boolean => type === 'bigint' || type === 'numeric';
  if (
    written?.type === 'jsonb' ||
    its.type === 'jsonb' ||
    (written?.type !== its.type && !(isNumber(written?.type) && isNumber(its.type)))
  ) {
    throw misfit(`compares "${own.name}" with "${its.name}", which are ${types}; cast the record's column first`);
  }
  const right = `_flux_right._flux_k${String(at)}`;
  const left = `_flux_left.${ident(own.name)}`;
  const type = referenceType(its);
  const exact = `try_cast(${left} as ${type})`;
  // What the other type cannot hold exactly is none of its values; a rounded one would be another.
  const value =
    own.type === type
      ? left
      : its.type === 'text'
        ? `${left}::varchar`
        : `case when try_cast(${exact} as ${own.type}) = ${left} then ${exact} end`;
  // A condition on the record alone would cost the hash join, so it is a part of the key.
  return `case when _flux_left._flux_state = 0 then ${value} end = ${right}`;
}
