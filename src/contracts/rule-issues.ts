import type { Issue } from '../errors.ts';
import type { Contract, ContractKeywords, ContractSchema } from './contract.ts';
import type { PipelineDefinition } from './documents.ts';
import { inlined } from './inline-references.ts';

type Rule = NonNullable<PipelineDefinition['contract']['rules']>[number];

/** What readers refuse a record for, whatever its contract says. */
const readerRules = [
  'carriage-return',
  'depth',
  'encoding',
  'fields',
  'length',
  'names',
  'nul',
  'occurs',
  'parse',
  'picture',
  'quote',
];
/** What any value may break: it is not written as its type, is beyond what the dataset holds, or is missing. */
const alwaysRules = ['encoding', 'format', 'occurs', 'picture', 'required', 'type'];

/** Formats whose fields can be found before a record is judged. */
const evolvingFormats = ['csv', 'json', 'ndjson', 'parquet'];

/** What is wrong with the modes that a pipeline gives to single rules of its contract: such a rule would never fit, or could do nothing. */
export function ruleIssues(definition: PipelineDefinition, contract: Contract): Issue[] {
  const document = inlined(contract) as ContractKeywords;
  return (definition.contract.rules ?? []).flatMap((rule, at) => {
    const where = `/contract/rules/${String(at)}`;
    const issues = rule.mode === 'evolve' ? evolveIssues(definition, rule, document) : namedIssues(rule, document);
    return issues.map(({ path, message }) => ({ path: `${where}${path}`, rule: 'rules', message }));
  });
}

type Found = Pick<Issue, 'path' | 'message'>;

function namedIssues(named: Rule, document: ContractKeywords): Found[] {
  const { path, rule, mode } = named;
  const place = placeOf(document, path);
  if (place === null || (place.unknown && rule !== undefined && rule !== 'additionalProperties')) {
    const candidates = [...pointersOf(document)].slice(0, 20).join(', ');
    return [{ path: '/path', message: `names ${path}, which the contract does not have; it has ${candidates}` }];
  }
  const known = [...new Set([...place.words, ...alwaysRules, ...(path === '' ? readerRules : [])])].sort();
  if (rule !== undefined && !known.includes(rule) && !place.unknown)
    return [
      {
        path: '/rule',
        message: `names ${rule}, which cannot be broken at ${shown(path)}; known there are ${known.join(', ')}`,
      },
    ];
  return mode === 'drop_value' ? dropIssues(named, place) : [];
}

function dropIssues({ path, rule }: Rule, place: Place): Found[] {
  if (!place.value)
    return [{ path: '/mode', message: `is drop_value, and ${shown(path)} is no value that could be left out` }];
  if (rule === 'required') return [{ path: '/mode', message: 'is drop_value, and what is missing cannot be left out' }];
  if (!place.required || place.nullAllowed) return [];
  return [
    {
      path: '/mode',
      message: `is drop_value, and no record can do without ${path}: it is required, and may not be null`,
    },
  ];
}

function evolveIssues(
  { source, transforms, destination, personalData }: PipelineDefinition,
  { path, rule }: Rule,
  document: ContractKeywords,
): Found[] {
  const issues: Found[] = [];
  if (path !== '' || rule !== 'additionalProperties')
    issues.push({
      path: '',
      message: 'has the mode evolve, which is for the rule additionalProperties at the path ""',
    });
  if (!evolvingFormats.includes(source.format.type))
    issues.push({ path: '/mode', message: `is evolve, which is for the formats ${evolvingFormats.join(', ')}` });
  if (destination.evolve !== true)
    issues.push({
      path: '/mode',
      message: 'is evolve, and the dataset takes no new columns; set destination.evolve to true',
    });
  if (typeof document.additionalProperties === 'object' || document.patternProperties !== undefined)
    issues.push({
      path: '/mode',
      message:
        'is evolve, and the contract has a rule for properties that it does not name (additionalProperties, patternProperties)',
    });
  // Nobody has said what of a field that nobody knew may be shown.
  if (transforms.some(({ type }) => type === 'sterilise') && personalData?.onFound !== 'refuse')
    issues.push({
      path: '/mode',
      message: 'is evolve, and new fields are not sterilised; set personalData.onFound to "refuse"',
    });
  return issues;
}

interface Place {
  /** Keywords that can be broken there. */
  words: ReadonlySet<string>;
  /** A field, or something within one: what a record may leave out. */
  value: boolean;
  required: boolean;
  nullAllowed: boolean;
  /** A property that the contract does not name. */
  unknown: boolean;
}

/** Where a pointer leads in the contract; null where no record that is judged by it has such a place. */
function placeOf(document: ContractKeywords, path: string): Place | null {
  const steps = path
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const words = new Set<string>();
  let schema: ContractSchema = document;
  let required = true;
  for (const [at, step] of steps.entries()) {
    if (typeof schema === 'boolean')
      return { words: wordsOf(document), value: true, required, nullAllowed: true, unknown: false };
    const { properties, ...around }: ContractKeywords = schema;
    for (const word of wordsOf(around)) words.add(word);
    if (properties === undefined || Object.keys(properties).length === 0)
      return {
        words: new Set([...words, ...wordsOf(document)]),
        value: true,
        required,
        nullAllowed: mayBeNull(schema),
        unknown: false,
      };
    if (!Object.hasOwn(properties, step)) {
      const last = at === steps.length - 1;
      const open =
        around.patternProperties !== undefined || typeof around.additionalProperties === 'object' || choosing(around);
      if (open) return { words: wordsOf(document), value: false, required: false, nullAllowed: false, unknown: true };
      return last ? { words, value: false, required: false, nullAllowed: false, unknown: true } : null;
    }
    required = required && (around.required ?? []).includes(step);
    schema = properties[step] as ContractSchema;
  }
  for (const word of wordsOf(schema)) words.add(word);
  const isObject = typeof schema === 'object' && Object.keys(schema.properties ?? {}).length > 0;
  return { words, value: steps.length > 0 && !isObject, required, nullAllowed: mayBeNull(schema), unknown: false };
}

const choosing = (schema: ContractKeywords): boolean =>
  ['allOf', 'anyOf', 'oneOf', 'then', 'else', 'dependentSchemas'].some((keyword) => Object.hasOwn(schema, keyword));

/** The names in these are properties, or no schemas at all. */
const named = new Set(['properties', 'patternProperties', 'dependentSchemas']);
const values = new Set(['enum', 'const', 'examples', 'default', 'dependentRequired', 'required']);

/** Every keyword of a schema and of those within it. */
function wordsOf(schema: unknown, words = new Set<string>()): Set<string> {
  if (Array.isArray(schema)) for (const each of schema) wordsOf(each, words);
  else if (schema === false) words.add('false schema');
  else if (typeof schema === 'object' && schema !== null) {
    for (const [keyword, value] of Object.entries(schema)) {
      words.add(keyword);
      if (values.has(keyword)) continue;
      for (const each of named.has(keyword) ? Object.values(value as object) : [value]) wordsOf(each, words);
    }
  }
  return words;
}

function mayBeNull(schema: ContractSchema): boolean {
  if (typeof schema === 'boolean') return schema;
  const byType = schema.type === undefined ? schema.const === undefined : [schema.type].flat().includes('null');
  const byEnum = schema.enum === undefined || schema.enum.includes(null);
  return byType && byEnum && (!('const' in schema) || schema.const === null);
}

function* pointersOf(schema: ContractSchema, at = ''): Generator<string> {
  if (typeof schema === 'boolean') return;
  for (const [name, each] of Object.entries(schema.properties ?? {})) {
    const pointer = `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    yield pointer;
    yield* pointersOf(each, pointer);
  }
}

const shown = (path: string): string => (path === '' ? 'the record itself' : path);
