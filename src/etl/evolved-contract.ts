import { FluxError } from '../errors.ts';
import type { ContractSchema } from '../contracts/contract.ts';
import type { PipelineDefinition } from './engine-types.ts';
import { columnName } from './ingest/column-names.ts';
import type { ContractField } from './ingest/contract-model.ts';

/** A field of the source that the contract does not name, and what is asked of it. */
export interface EvolvedField {
  name: string;
  schema: Readonly<Record<string, unknown>>;
}

type Document = Readonly<Record<string, unknown>>;

/** More is no dataset that grew: the names are data. */
const fieldCountMax = 100;

/** Whether fields that the contract does not name become columns. */
export function evolves({ contract }: Pick<PipelineDefinition, 'contract'>): boolean {
  return contract?.rules?.some(({ mode }) => mode === 'evolve') ?? false;
}

/** The contract with those fields as optional ones: whatever judges records then knows them like any other. */
export function withEvolved(contract: Document, evolved: readonly EvolvedField[]): Document {
  const properties = contract['properties'] as Readonly<Record<string, ContractSchema>>;
  // What the contract says itself counts.
  const added = evolved.filter(({ name }) => !Object.hasOwn(properties, name));
  return {
    ...contract,
    properties: { ...properties, ...Object.fromEntries(added.map((each) => [each.name, each.schema])) },
  };
}

/** The names by which a source may call the contract's own fields. */
export function knownNames(fields: readonly ContractField[], format: string): string[] {
  const names = fields.flatMap(({ path }) => (format === 'csv' ? [path.join('.'), path.join('_')] : [path[0] ?? '']));
  return [...new Set(names)];
}

/**
 * What is asked of fields that were found: what the dataset's column holds already, or else what the source showed.
 *
 * @throws SOURCE_INVALID they are more than a dataset is given at once, or their names cannot be kept
 */
export function evolvedFields(
  found: readonly EvolvedField[],
  dataset: readonly { name: string; type: string }[],
): EvolvedField[] {
  if (found.length > fieldCountMax)
    throw refused(
      `holds ${String(found.length)} fields that the contract does not name; at most ${String(fieldCountMax)} become columns`,
    );
  const unfit = found.find(({ name }) => name === '__proto__' || !name.isWellFormed() || /\p{Cc}/u.test(name));
  if (unfit) throw refused(`holds a field called ${JSON.stringify(unfit.name)}, which cannot become a column`);
  return found.map(({ name, schema }) => {
    const column = dataset.find((each) => each.name === columnName([name]));
    return { name, schema: column && Object.keys(schema).length > 0 ? schemaOfColumn(column.type) : schema };
  });
}

/** Columns that an earlier run has found, and this source does not have: they are null. */
export function absentFields(columns: readonly { name: string; type: string }[]): EvolvedField[] {
  return columns.map(({ name, type }) => ({ name, schema: schemaOfColumn(type) }));
}

const schemas: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  text: { type: ['string', 'null'] },
  bigint: { type: ['integer', 'null'] },
  'double precision': { type: ['number', 'null'] },
  numeric: { type: ['number', 'null'] },
  boolean: { type: ['boolean', 'null'] },
  date: { type: ['string', 'null'], format: 'date' },
  timestamp: { type: ['string', 'null'], format: 'local-date-time' },
  timestamptz: { type: ['string', 'null'], format: 'date-time' },
};

const schemaOfColumn = (type: string): EvolvedField['schema'] => schemas[type] ?? {};

function refused(what: string): FluxError {
  return new FluxError(
    'SOURCE_INVALID',
    `The source ${what}. Name in the contract what is wanted, and give contract.rules another mode than evolve.`,
  );
}
