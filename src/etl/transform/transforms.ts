import { FluxError } from '../../errors.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { PipelineDefinition, StepDeclaration } from '../engine-types.ts';
import {
  readWritten,
  type Written,
  writtenBoolean,
  writtenInteger,
  writtenNumber,
  writtenNumeric,
  writtenTimes,
} from '../ingest/lexical.ts';
import type { JoinTransform } from '../../contracts/documents.ts';
import type { LocalReference } from '../protocol.ts';
import type { ExpressionRules } from './expression.ts';
import { compileJoin } from './join.ts';
import { sterilisedColumns, type SteriliseTransform } from './sterilise.ts';

/**
 * `_flux_state` of a record in a batch: 0 good, 1 refused by the contract, 2 + i left out by transform i, -(2 + i) failed in
 * transform i. Only records in state 0 are looked at by a transform, since the others may hold what it does not expect.
 */
export const stateOfTransform = (index: number): number => 2 + index;

export interface TransformColumn {
  name: string;
  /** The source's own name, by which a rename may call it too. */
  original: string;
}

/** Wraps a query of records into one of transformed records, in any order where one of them is a join. */
export interface TransformChain {
  steps: readonly StepDeclaration[];
  columns: readonly TransformColumn[];
  wrap(query: string): string;
}

/** `at`: the place of the pipeline's own transform, where one is several steps. */
type Transform = NonNullable<PipelineDefinition['transforms']>[number] & { at?: number };
type Layer = (query: string) => string;

const kept = ['_flux_record', '_flux_state', '_flux_broken', '_flux_found', '_flux_raw'].map(ident).join(', ');

/**
 * Compiles the transforms against the columns they meet. `sample` is a query with no rows and the right columns: each layer
 * is bound to it, so that a misspelt column or a type that does not fit is known before the first record.
 *
 * @throws INVALID_INPUT a transform is not offered, or does not fit its columns
 */
export async function compileTransforms(
  deps: TransformDeps,
  transforms: readonly Transform[],
  start: { columns: readonly TransformColumn[]; sample: string },
): Promise<TransformChain> {
  const steps: StepDeclaration[] = [];
  const layers: Layer[] = [];
  let columns = start.columns;
  let sample = start.sample;
  for (const [index, transform] of transforms.entries()) {
    const at = transform.at ?? index;
    const compiled = await compileOne(deps, transform, { index, at, columns, sample });
    steps.push({ stage: 'TRANSFORM', step: compiled.step, kind: kindOf(transform) });
    layers.push(compiled.layer);
    columns = compiled.columns;
    sample = compiled.layer(sample);
    await describeOr(deps.session, sample, `/transforms/${at}`);
  }
  return { steps, columns, wrap: (query) => layers.reduce((inner, layer) => layer(inner), query) };
}

function kindOf({ type }: Transform): StepDeclaration['kind'] {
  if (type === 'join') return 'join';
  return type === 'filter' || type === 'minimum_cell' ? 'filter' : 'row';
}

/** What transforms are compiled with. */
export interface TransformDeps {
  session: DuckDbSession;
  rules: ExpressionRules;
  /** What they may join. */
  references: readonly LocalReference[];
}

interface Place {
  /** Among the steps of this chain. */
  index: number;
  /** Among the transforms of the pipeline. */
  at: number;
  columns: readonly TransformColumn[];
  sample: string;
}
interface Compiled {
  step: string;
  columns: readonly TransformColumn[];
  layer: Layer;
}

function compileOne(deps: TransformDeps, transform: Transform, place: Place): Promise<Compiled> {
  switch (transform.type) {
    case 'rename':
      return Promise.resolve(compileRename(transform, place));
    case 'cast':
      return compileCast(deps.session, transform, place);
    case 'derive':
      return compileDerive(deps.rules, transform, place);
    case 'filter':
      return compileFilter(deps, transform, place);
    case 'sterilise':
      return compileSterilise(deps.session, transform as SteriliseTransform, place);
    case 'join':
      return compileJoined(deps, transform as Transform & JoinTransform, place);
    case 'minimum_cell':
      return Promise.resolve(compileMinimumCell(transform, place));
    default:
      throw new FluxError(
        'INVALID_INPUT',
        `Transform ${place.at + 1} asks for "${transform.type}", which is not offered. Offered row by row: rename, cast, derive, filter, join, sterilise.`,
      );
  }
}

function compileRename(transform: Transform, place: Place): Compiled {
  const names = transform['columns'] as Readonly<Record<string, string>>;
  const renamed = new Map(Object.entries(names).map(([from, to]) => [findColumn(place, from).name, to]));
  const columns = place.columns.map(({ name, original }) => ({ name: renamed.get(name) ?? name, original }));
  const twice = columns.find(({ name }, at) => columns.findIndex((other) => other.name === name) !== at);
  if (twice !== undefined) throw misfit(place, `makes two columns named "${twice.name}"`);
  const list = place.columns.map(({ name }, at) => `${ident(name)} as ${ident(columns[at]?.name ?? name)}`).join(', ');
  return { step: 'rename', columns, layer: (query) => `select ${kept}, ${list} from (${query})` };
}

async function compileDerive(rules: ExpressionRules, transform: Transform, place: Place): Promise<Compiled> {
  const column = String(transform['column']);
  if (column.startsWith('_flux_')) throw misfit(place, `names the column "${column}"; the prefix _flux_ is Flux's own`);
  const sql = await rules.check(String(transform['sql']), names(place), `/transforms/${place.at}/sql`);
  // A state below the record's own keeps the expression from rows that it was not written for.
  const value = `case when _flux_state = 0 then ${sql} end`;
  const exists = place.columns.some(({ name }) => name === column);
  const columns = exists ? place.columns : [...place.columns, { name: column, original: column }];
  const list = exists ? `* replace (${value} as ${ident(column)})` : `*, ${value} as ${ident(column)}`;
  return { step: `derive ${column}`, columns, layer: (query) => `select ${list} from (${query})` };
}

async function compileFilter(
  deps: { session: DuckDbSession; rules: ExpressionRules },
  transform: Transform,
  place: Place,
): Promise<Compiled> {
  const where = `/transforms/${place.at}/sql`;
  const sql = await deps.rules.check(String(transform['sql']), names(place), where);
  const [condition] = await describeOr(deps.session, `select ${sql} from (${place.sample})`, where);
  if (condition?.type !== 'BOOLEAN')
    throw misfit(place, `must be a condition, and is of type ${condition?.type ?? 'unknown'}`);
  const state = `case when _flux_state <> 0 then _flux_state when ${sql} then 0 else ${stateOfTransform(place.index)} end::integer`;
  const step = `filter ${typeof transform['rule'] === 'string' ? transform['rule'] : place.at + 1}`.slice(0, 100);
  return {
    step,
    columns: place.columns,
    layer: (query) => `select * replace (${state} as _flux_state) from (${query})`,
  };
}

async function compileSterilise(
  session: DuckDbSession,
  transform: SteriliseTransform,
  place: Place,
): Promise<Compiled> {
  const described = await session.describe(
    `select ${place.columns.map(({ name }) => ident(name)).join(', ')} from (${place.sample})`,
  );
  const made = sterilisedColumns(transform, described, {
    find: (name) => findColumn(place, name).name,
    misfit: (message) => misfit(place, message),
  });
  // What another transform left out, or the contract refused, may hold what no hash or band expects.
  const list = made.map(({ name, expression }) => `case when _flux_state = 0 then ${expression} end as ${ident(name)}`);
  if (list.length === 0) throw misfit(place, 'drops every column');
  const columns = place.columns.filter(({ name }) => made.some((column) => column.name === name));
  return { step: 'sterilise', columns, layer: (query) => `select ${[kept, ...list].join(', ')} from (${query})` };
}

async function compileJoined(
  { session, references }: TransformDeps,
  transform: JoinTransform,
  place: Place,
): Promise<Compiled> {
  const { step, added, join } = await compileJoin(session, references, transform, {
    at: place.at,
    columns: place.columns,
    sample: place.sample,
    find: (name) => findColumn(place, name).name,
    misfit: (message) => misfit(place, message),
  });
  const unmatched = transform.unmatched === 'drop' ? stateOfTransform(place.index) : 0;
  const state = `case when _flux_state <> 0 then _flux_state when _flux_matched then 0 else ${unmatched} end::integer`;
  return {
    step,
    columns: [...place.columns, ...added.map((name) => ({ name, original: name }))],
    layer: (query) => `select * exclude (_flux_matched) replace (${state} as _flux_state) from (${join(query)})`,
  };
}

/** A cell of few people reveals them; a cell of none reveals nobody. */
function compileMinimumCell(transform: Transform, place: Place): Compiled {
  const { name } = findColumn(place, String(transform['count']));
  const minimum = Number(transform['minimum']);
  const fits = `${ident(name)} >= ${minimum} or ${ident(name)} = 0`;
  const state = `case when _flux_state <> 0 then _flux_state when ${fits} then 0 else ${stateOfTransform(place.index)} end::integer`;
  return {
    step: `minimum cell ${minimum} of ${name}`.slice(0, 100),
    columns: place.columns,
    layer: (query) => `select * replace (${state} as _flux_state) from (${query})`,
  };
}

async function compileCast(session: DuckDbSession, transform: Transform, place: Place): Promise<Compiled> {
  const { name } = findColumn(place, String(transform['column']));
  const [described] = await session.describe(`select ${ident(name)} from (${place.sample})`);
  const from = described?.type ?? '';
  const format = transform['format'];
  const cast = castExpression(
    place,
    ident(name),
    from,
    String(transform['to']),
    typeof format === 'string' ? format : null,
  );
  const failed = `_flux_state = 0 and ${ident(name)} is not null and _flux_cast is null`;
  const layer: Layer = (query) => `
    select * exclude (_flux_cast) replace (
      _flux_cast as ${ident(name)},
      case when ${failed} then -${stateOfTransform(place.index)} else _flux_state end::integer as _flux_state,
      case when ${failed} then [${ident(name)}::varchar] else _flux_found end as _flux_found)
    from (select *, case when _flux_state = 0 then ${cast} end as _flux_cast from (${query}))`;
  return { step: `cast ${name}`, columns: place.columns, layer };
}

const writtenTypes: Readonly<Record<string, Written>> = {
  bigint: writtenInteger,
  'double precision': writtenNumber,
  numeric: writtenNumeric,
  boolean: writtenBoolean,
  date: writtenTimes.date,
  timestamp: writtenTimes['local-date-time'],
  timestamptz: writtenTimes['date-time'],
};
const duckTypes: Readonly<Record<string, string>> = {
  bigint: 'bigint',
  'double precision': 'double',
  numeric: 'decimal(38,10)',
  text: 'varchar',
  boolean: 'boolean',
  date: 'date',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
  jsonb: 'json',
};

/** Null where the value is not written as the type; never a guess. */
function castExpression(place: Place, column: string, from: string, to: string, format: string | null): string {
  const duckType = duckTypes[to];
  if (duckType === undefined) throw misfit(place, `casts to "${to}"; offered are ${Object.keys(duckTypes).join(', ')}`);
  const isTime = to === 'date' || to === 'timestamp' || to === 'timestamptz';
  if (format !== null) {
    if (from !== 'VARCHAR' || !isTime)
      throw misfit(place, `gives a format, which only text that becomes a date or a time has (from ${from})`);
    if (to === 'timestamptz' && !/%[zZ]/.test(format))
      throw misfit(place, 'makes a timestamptz of text without an offset; add %z, or cast to timestamp');
    return `try_strptime(${column}, ${literal(format)})::${duckType}`;
  }
  if (to === 'text') return `${column}::varchar`;
  if (to === 'jsonb') {
    return from === 'VARCHAR' ? `case when json_valid(${column}) then ${column}::json end` : `to_json(${column})`;
  }
  const written = writtenTypes[to] as Written;
  if (from === 'VARCHAR') return readWritten(column, written);
  if (to === 'timestamptz' && !from.endsWith('WITH TIME ZONE'))
    throw misfit(place, `makes a timestamptz of ${from}, whose zone is not known`);
  if (to === 'bigint' && /^(DOUBLE|FLOAT|DECIMAL)/.test(from)) {
    return `case when ${column} = trunc(${column}) then try_cast(${column} as bigint) end`;
  }
  return `try_cast(${column} as ${duckType})`;
}

function findColumn(place: Place, asked: string): TransformColumn {
  const found =
    place.columns.find(({ name }) => name === asked) ?? place.columns.find(({ original }) => original === asked);
  if (found === undefined) throw misfit(place, `names the column "${asked}". Columns here: ${names(place).join(', ')}`);
  return found;
}

const names = (place: Place): string[] => place.columns.map(({ name }) => name);

async function describeOr(
  session: DuckDbSession,
  query: string,
  where: string,
): Promise<{ name: string; type: string }[]> {
  try {
    return await session.describe(query);
  } catch (cause) {
    const [line = ''] = (cause as Error).message.split('\n');
    throw new FluxError(
      'INVALID_INPUT',
      `The transform at ${where} does not fit the records: ${line}. Correct the pipeline.`,
      { cause },
    );
  }
}

function misfit(place: Place, message: string): FluxError {
  return new FluxError('INVALID_INPUT', `Transform ${place.at + 1} ${message}. Correct the pipeline.`, {
    details: { issues: [{ path: `/transforms/${place.at}`, rule: 'transform', message }] },
  });
}
