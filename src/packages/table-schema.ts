import type { PackageFacts } from './package-facts.ts';
import { maskedColumns } from './masked-columns.ts';

/** A field of a Table Schema (Data Package v2). */
export interface TableField {
  name: string;
  type: string;
  title?: string;
  description?: string;
  constraints?: { required: true };
  /** What the pipeline put in place of the source's values: ours, beside the standard's properties. */
  masked?: string;
}

export interface TableSchema {
  $schema: string;
  fields: TableField[];
  primaryKey?: string[];
  missingValues: string[];
}

/** What the lake's types are in Table Schema. A JSON value may be of any kind. */
const types: Readonly<Record<string, string>> = {
  bigint: 'integer',
  'double precision': 'number',
  numeric: 'number',
  text: 'string',
  boolean: 'boolean',
  date: 'date',
  timestamp: 'datetime',
  timestamptz: 'datetime',
  jsonb: 'any',
};

/** How a value that is not there is written. A record of one empty field would be a blank line, which readers pass over. */
export function nullText(columns: PackageFacts['columns']): string {
  return columns.length === 1 ? '\\N' : '';
}

/** The columns of a dataset as Table Schema, with what the contract and the pipelines say of them. */
export function tableSchema(facts: PackageFacts): TableSchema {
  const { columns } = facts;
  const [told, masked, key] = [toldByContract(facts), maskedColumns(facts), mergeKey(facts)];
  return {
    $schema: 'https://datapackage.org/profiles/2.0/tableschema.json',
    fields: columns.map(({ name, type }) => {
      const how = masked.get(name);
      return {
        name,
        type: types[type] ?? 'any',
        ...told.get(name),
        ...(key.includes(name) ? { constraints: { required: true as const } } : {}),
        ...(how === undefined ? {} : { masked: how }),
      };
    }),
    ...(key.length > 0 ? { primaryKey: key } : {}),
    missingValues: [nullText(columns)],
  };
}

/**
 * The columns by which records are merged; none where one of the loads was not merged by the same, because then nothing keeps two of its
 * records from being alike in them.
 */
function mergeKey({ loads, pipelines, columns }: PackageFacts): string[] {
  const keys = loads.map(({ mode, pipeline, pipelineVersion }) => {
    const found = pipelines.find(({ name, version }) => name === pipeline && version === pipelineVersion);
    if (mode !== 'merge' || !found) return null;
    const { destination } = JSON.parse(found.definition) as { destination?: { key?: string[] } };
    return destination?.key ?? null;
  });
  const [first] = keys;
  if (!first || keys.some((key) => key?.join() !== first.join())) return [];
  return first.every((name) => columns.some((column) => column.name === name)) ? first : [];
}

/** Titles and descriptions of properties that are columns under their own names. */
function toldByContract({ contract }: PackageFacts): Map<string, { title?: string; description?: string }> {
  const { properties = {} } = JSON.parse(contract ?? '{}') as { properties?: Record<string, unknown> };
  return new Map(
    Object.entries(properties).map(([name, property]) => {
      const { title, description } = (property ?? {}) as Record<string, unknown>;
      return [
        name,
        {
          ...(typeof title === 'string' ? { title } : {}),
          ...(typeof description === 'string' ? { description } : {}),
        },
      ];
    }),
  );
}
