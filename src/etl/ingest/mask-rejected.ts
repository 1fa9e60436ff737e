import { kindOfField } from '../../personal-data/patterns.ts';
import { isLeftAlone, maskText, maskValue } from '../../personal-data/mask.ts';
import type { PipelineDefinition, RejectedRecord } from '../engine-types.ts';
import { columnName } from './column-names.ts';
import type { CsvDialect } from './csv-splitter.ts';
import { depthOf } from './json-record.ts';
import { jsonDepthMax } from './limits.ts';

/** A column as a rejected record shows it. */
export interface ShownColumn {
  /** The dataset's name. */
  name: string;
  /** The source's own name: a heading, or the path of a property. */
  original: string;
}

const withheld = '[withheld: the record cannot be cut into its fields, and some of them are personal]';

/**
 * Masks what identifies people in rejected records before they leave the engine: whatever is written like personal data, and the whole
 * of each field whose name says so or that the pipeline sterilises. A text that cannot be cut into its fields is withheld where
 * there are such fields; the record's number and place still lead to it in the pinned source.
 */
export function rejectedMask(
  definition: PipelineDefinition,
  reader: { columns: { columns: readonly ShownColumn[] }; headings?: readonly string[] },
): (record: RejectedRecord) => RejectedRecord {
  const declared = declaredFields(definition);
  const columns =
    reader.headings?.map((original) => ({ name: columnName([original]), original })) ?? reader.columns.columns;
  const kinds = columns.map(({ name, original }) =>
    declared.has(name) || declared.has(original) ? 'masked' : (kindOfField(original) ?? kindOfField(name)),
  );
  const personal = new Map(columns.flatMap(({ original }, i) => (kinds[i] ? [[original, kinds[i]] as const] : [])));
  const maskRaw = rawMask(definition, kinds, personal);
  return (record) => ({
    ...record,
    reasons: record.reasons.map(({ path, rule, message }) => ({
      path: maskText(path),
      rule,
      message: isPersonal(path, personal) ? withoutValue(message) : maskText(message),
    })),
    raw: record.raw === null ? null : maskRaw(record.raw),
  });
}

/** The fields that a pipeline removes, hashes or blurs: whoever declared them does not want to see them in its rejects. */
function declaredFields({ transforms = [] }: PipelineDefinition): Set<string> {
  const sterilised = (transforms as readonly Record<string, unknown>[]).filter(({ type }) => type === 'sterilise');
  return new Set(
    sterilised.flatMap(({ hash, drop, redact, generalise }) => [
      ...((hash as string[] | undefined) ?? []),
      ...((drop as string[] | undefined) ?? []),
      ...((redact as string[] | undefined) ?? []),
      ...Object.keys((generalise as object | undefined) ?? {}),
    ]),
  );
}

type Kinds = readonly (string | null)[];

function rawMask(
  { source: { format } }: PipelineDefinition,
  kinds: Kinds,
  personal: ReadonlyMap<string, string>,
): (raw: string) => string {
  const somePersonal = personal.size > 0;
  if (format.type === 'csv') {
    const delimiter = (format.delimiter as string | undefined) ?? ',';
    const quote: string | null = format.quote === undefined ? '"' : (format.quote as string | null);
    const escape = typeof format.escape === 'string' ? format.escape : null;
    return (raw) => {
      if (!somePersonal) return maskText(raw);
      const cells = cutCells(raw, { delimiter, quote, escape });
      if (cells?.length !== kinds.length) return withheld;
      return cells.map((cell, i) => (kinds[i] && cell !== '' ? `[${kinds[i]}]` : maskText(cell))).join(delimiter);
    };
  }
  return (raw) => {
    const value = isTooDeep(raw) ? undefined : parsed(raw);
    // Masked as a text too: numbers in JSON are left by value, and a text may be cut where a value is not.
    if (value === undefined) return somePersonal ? withheld : maskText(raw);
    const text = JSON.stringify(value);
    if (!somePersonal && isLeftAlone(value, text)) return text;
    const shown = maskValue(value);
    return maskText(JSON.stringify(somePersonal ? maskDeclared(shown, personal) : shown));
  };
}

/** RFC 4180's cells, quotes included; undefined when a quote does not end. */
function cutCells(raw: string, { delimiter, quote, escape }: CsvDialect): string[] | undefined {
  const cells: string[] = [];
  let [start, quoted] = [0, false];
  for (let i = 0; i < raw.length; i += 1) {
    if (quoted && raw[i] === escape && (raw[i + 1] === quote || raw[i + 1] === escape)) i += 1;
    else if (raw[i] === quote) quoted = !quoted;
    else if (raw[i] === delimiter && !quoted) {
      cells.push(raw.slice(start, i));
      start = i + 1;
    }
  }
  if (quoted) return undefined;
  cells.push(raw.slice(start));
  return cells;
}

function isTooDeep(raw: string): boolean {
  const nests = raw.includes('{', 1) || raw.includes('[', 1);
  return nests && depthOf(Buffer.from(raw)) > jsonDepthMax;
}

function parsed(raw: string): object | undefined {
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** @param personal by the path of the property, its steps joined by dots */
function maskDeclared(value: unknown, personal: ReadonlyMap<string, string>, path = ''): unknown {
  const kind = personal.get(path);
  if (kind !== undefined && value !== null) return `[${kind}]`;
  if (Array.isArray(value)) return value.map((item) => maskDeclared(item, personal, path));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      maskDeclared(item, personal, path === '' ? name : `${path}.${name}`),
    ]),
  );
}

function isPersonal(path: string, personal: ReadonlyMap<string, string>): boolean {
  const name = path
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.');
  return personal.has(name) || kindOfField(name.split('.').at(-1) ?? '') !== null;
}

/** What was expected stays; what was found goes. */
function withoutValue(message: string): string {
  return maskText(message.replace(/, found .*$/su, ', found [masked]'));
}
