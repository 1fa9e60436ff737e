import { FluxError } from '../../errors.ts';
import { ident } from '../duckdb/sql-text.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import type { PipelineDefinition, StepDeclaration } from '../engine-types.ts';
import type { SteriliseTransform } from './sterilise.ts';
import { compileTransforms, type TransformChain, type TransformColumn, type TransformDeps } from './transforms.ts';
import { aggregateStep, deduplicateStep, kAnonymityStep, queryStep, type WholeStep } from './whole-steps.ts';

type Transform = NonNullable<PipelineDefinition['transforms']>[number];

/** A step of the engine: `sterilise` is up to three of them. `at` is the place of the pipeline's own transform. */
export type PlacedTransform = Transform & { at: number };

const whole = new Set(['deduplicate', 'aggregate', 'sql', 'k_anonymity']);

/** A pipeline's transforms as the steps that do them, in order. */
export function placeTransforms(transforms: readonly Transform[]): PlacedTransform[] {
  return transforms.flatMap((transform, at): PlacedTransform[] => {
    if (transform.type !== 'sterilise') return [{ ...transform, at }];
    const { minimumCell, kAnonymity } = transform as SteriliseTransform;
    return [
      { ...transform, at },
      ...(minimumCell ? [{ type: 'minimum_cell', ...minimumCell, at }] : []),
      ...(kAnonymity ? [{ type: 'k_anonymity', ...kAnonymity, at }] : []),
    ];
  });
}

/** Where the first step stands that needs all records at once; -1 where none does. */
export function firstWhole(transforms: readonly PlacedTransform[]): number {
  return transforms.findIndex(({ type }) => whole.has(type));
}

/** Steps that go together: some row by row, or one that needs all records. */
export type Segment = { columns: readonly TransformColumn[] } & (
  { kind: 'rows'; chain: TransformChain } | { kind: 'whole'; step: WholeStep }
);

const flux = `0::integer as _flux_state, null::boolean[] as _flux_broken, null::varchar[] as _flux_found, null::varchar as _flux_raw`;

/** Records that are typed and good, as transforms row by row see them. */
export const asGoodRecords = (query: string): string =>
  `select _flux_record, ${flux}, * exclude (_flux_record) from (${query})`;

/**
 * Compiles the steps from the first on that needs all records.
 *
 * @param start the columns that they meet, and a query with `_flux_record` and those, without rows
 * @throws INVALID_INPUT a step does not fit its columns, or its SQL is not offered
 */
export async function compileSegments(
  deps: TransformDeps,
  transforms: readonly PlacedTransform[],
  start: { columns: readonly TransformColumn[]; sample: string },
): Promise<Segment[]> {
  const segments: Segment[] = [];
  let { columns, sample } = start;
  /** The last query that may give totals. */
  let totals: PlacedTransform | null = null;
  for (let at = 0; at < transforms.length;) {
    const transform = transforms[at] as PlacedTransform;
    if (whole.has(transform.type)) {
      const { step, columns: made, totals: some = false } = await compileWhole(deps, transform, { columns, sample });
      if (some) totals = transform;
      sample = `with _flux_from as (${sample}) select * from (${step.query('_flux_from')})`;
      const described = await describe(deps.session, sample, transform);
      columns =
        made ?? described.filter(({ name }) => name !== '_flux_record').map(({ name }) => ({ name, original: name }));
      segments.push({ kind: 'whole', step, columns });
      at += 1;
      continue;
    }
    const end = transforms.findIndex((each, index) => index > at && whole.has(each.type));
    const rows = transforms.slice(at, end === -1 ? transforms.length : end);
    if (totals) requireNoTotals(totals, rows);
    const chain = await compileTransforms(deps, rows, { columns, sample: asGoodRecords(sample) });
    columns = chain.columns;
    sample = `select _flux_record, ${columns.map(({ name }) => ident(name)).join(', ')} from (${chain.wrap(asGoodRecords(sample))})`;
    segments.push({ kind: 'rows', chain, columns });
    at += rows.length;
  }
  return segments;
}

/** A cell that is suppressed alone in its row or column follows from their total. */
function requireNoTotals(query: PlacedTransform, rows: readonly PlacedTransform[]): void {
  const cell = rows.find(({ type, totals }) => type === 'minimum_cell' && totals !== 'none');
  if (!cell) return;
  throw misfit(
    cell,
    `suppresses small cells, and the query of transform ${String(query.at + 1)} may publish totals beside them, from which a suppressed cell could be ` +
      'computed. Give it one SELECT from records, grouped in one way, without union, subquery, window or unnest; or say minimumCell.totals: "none" where it gives no totals',
  );
}

export function stepsOf(segments: readonly Segment[]): StepDeclaration[] {
  return segments.flatMap((segment) => (segment.kind === 'rows' ? segment.chain.steps : [segment.step.declaration]));
}

interface Place {
  columns: readonly TransformColumn[];
  sample: string;
}

async function compileWhole(
  { session, rules }: TransformDeps,
  transform: PlacedTransform,
  { columns, sample }: Place,
): Promise<{ step: WholeStep; columns: readonly TransformColumn[] | null; totals?: boolean }> {
  const find = (asked: unknown): string => findName(columns, String(asked), transform);
  switch (transform.type) {
    case 'deduplicate': {
      const keep = transform['keep'] === 'last' ? 'last' : 'first';
      return { step: deduplicateStep((transform['key'] as string[]).map(find), keep), columns };
    }
    case 'k_anonymity':
      return { step: kAnonymityStep(Number(transform['k']), (transform['columns'] as string[]).map(find)), columns };
    case 'aggregate': {
      const groupBy = (transform['groupBy'] as string[]).map(find);
      const measures = [];
      for (const [name, text] of Object.entries(transform['measures'] as Record<string, string>)) {
        if (groupBy.includes(name)) throw misfit(transform, `makes two columns named "${name}"`);
        const where = `/transforms/${transform.at}/measures/${name}`;
        const names = columns.map((column) => column.name);
        measures.push({ name, expression: await rules.checkAggregate(text, names, where) });
      }
      return { step: aggregateStep(groupBy, measures), columns: null };
    }
    default: {
      const sql = String(transform['sql']);
      const { ordered, totals } = await rules.checkQuery(sql, `/transforms/${transform.at}/sql`);
      const described = await describe(
        session,
        `with records as (select * exclude (_flux_record) from (${sample})) select * from (\n${sql}\n)`,
        transform,
      );
      const own = described.find(({ name }) => name.startsWith('_flux_'));
      if (own) throw misfit(transform, `makes the column "${own.name}"; the prefix _flux_ is Flux's own`);
      return { step: queryStep(sql, ordered), columns: null, totals };
    }
  }
}

function findName(columns: readonly TransformColumn[], asked: string, transform: PlacedTransform): string {
  const found = columns.find(({ name }) => name === asked) ?? columns.find(({ original }) => original === asked);
  if (found) return found.name;
  const names = columns.map(({ name }) => name).join(', ');
  throw misfit(transform, `names the column "${asked}". Columns here: ${names}`);
}

async function describe(
  session: DuckDbSession,
  query: string,
  { at }: PlacedTransform,
): Promise<{ name: string; type: string }[]> {
  try {
    return await session.describe(query);
  } catch (cause) {
    const [line = ''] = (cause as Error).message.split('\n');
    const where = `/transforms/${String(at)}`;
    throw new FluxError(
      'INVALID_INPUT',
      `The transform at ${where} does not fit the records: ${line}. Correct the pipeline.`,
      { cause, details: { issues: [{ path: where, rule: 'transform', message: line }] } },
    );
  }
}

function misfit({ at }: PlacedTransform, message: string): FluxError {
  return new FluxError('INVALID_INPUT', `Transform ${String(at + 1)} ${message}. Correct the pipeline.`, {
    details: { issues: [{ path: `/transforms/${String(at)}`, rule: 'transform', message }] },
  });
}
