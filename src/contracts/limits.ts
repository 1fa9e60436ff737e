/**
 * What a contract may cost before anybody compiles it. Contracts come from tenants: without these limits one of them could
 * hold a worker's CPU or memory with a document of a few lines.
 */
import type { Issue } from '../errors.ts';
import { canonicalText } from './canonical.ts';
import { measure } from './measure.ts';
import { pointerStep } from './issues.ts';
import { newWalk, patternProblem, type Walk } from './pattern-safety.ts';

export const contractLimits = {
  bytes: 65_536,
  /** Containers inside one another. */
  depth: 32,
  /** Schemas inside the contract, each `$ref` counted as often as it is followed: references of references double. */
  subschemas: 500,
} as const;

/** Keywords whose value is one schema, a list of schemas, or a map from names to schemas. */
const single = ['additionalProperties', 'propertyNames', 'items', 'contains', 'not', 'if', 'then', 'else'];
const lists = ['allOf', 'anyOf', 'oneOf', 'prefixItems'];
const maps = ['properties', 'patternProperties', 'dependentSchemas', '$defs'];

type Node = Record<string, unknown>;

/** Whether the document is plain JSON of an allowed depth and size: what is cheap to know, whatever it holds. */
export function sizeIssues(document: unknown): Issue[] {
  const size = measure(document, contractLimits.depth);
  if (size.issue !== null) return [size.issue];
  const bytes = Buffer.byteLength(canonicalText(document));
  if (bytes <= contractLimits.bytes) return [];
  return [{ path: '', rule: 'maxBytes', message: `holds ${bytes} bytes; at most ${contractLimits.bytes} are allowed` }];
}

/** The first limit that the document breaks, or every unsafe pattern and reference in it; none when it is within all. */
export function limitIssues(document: unknown): Issue[] {
  const size = sizeIssues(document);
  if (size.length > 0) return size;
  const walk = newWalk();
  const { schemas, places } = subschemasOf(document);
  if (schemas.length > contractLimits.subschemas) return [tooMany(schemas.length)];
  const issues = schemas.flatMap(({ path, node }) => [
    ...referenceIssues(document, places, { path, node }),
    ...patternIssues(path, node, walk),
  ]);
  return issues.length > 0 ? issues : countIssues(document);
}

interface Place {
  path: string;
  node: Node;
}

/** Every schema object in the document with its pointer, the root first, and the pointers of all schemas, `true` and `false` among them. */
function subschemasOf(document: unknown): { schemas: Place[]; places: Set<string> } {
  const schemas: Place[] = [];
  const places = new Set<string>();
  const open = [{ path: '', value: document }];
  for (let at = open.shift(); at !== undefined; at = open.shift()) {
    if (isNode(at.value) || typeof at.value === 'boolean') places.add(at.path);
    if (!isNode(at.value)) continue;
    schemas.push({ path: at.path, node: at.value });
    for (const child of childrenOf(at.value)) open.push({ path: at.path + child.step, value: child.value });
  }
  return { schemas, places };
}

function childrenOf(node: Node): { step: string; value: unknown }[] {
  const children: { step: string; value: unknown }[] = [];
  for (const keyword of single) {
    if (Object.hasOwn(node, keyword)) children.push({ step: `/${keyword}`, value: node[keyword] });
  }
  for (const keyword of [...lists, ...maps]) {
    const inside = Object.hasOwn(node, keyword) ? node[keyword] : null;
    if (inside === null || typeof inside !== 'object') continue;
    for (const [name, value] of Object.entries(inside))
      children.push({ step: `/${keyword}${pointerStep(name)}`, value });
  }
  return children;
}

function referenceIssues(document: unknown, places: ReadonlySet<string>, { path, node }: Place): Issue[] {
  const reference = Object.hasOwn(node, '$ref') ? node.$ref : undefined;
  if (typeof reference !== 'string') return [];
  const at = `${path}/$ref`;
  if (!/^#(\/|$)/.test(reference)) {
    return [
      {
        path: at,
        rule: '$ref',
        message: `must point inside the document ("#/$defs/…"), found ${JSON.stringify(reference)}`,
      },
    ];
  }
  if (resolve(document, reference) === undefined) {
    return [{ path: at, rule: '$ref', message: `points at nothing, found ${JSON.stringify(reference)}` }];
  }
  // A value of enum, const or examples is no schema: nobody has looked at the patterns and references in it.
  if (!places.has(placeOf(reference))) {
    return [{ path: at, rule: '$ref', message: `points at no schema, found ${JSON.stringify(reference)}` }];
  }
  return [];
}

function patternIssues(path: string, node: Node, walk: Walk): Issue[] {
  const patterns: { at: string; text: string }[] = [];
  if (typeof node.pattern === 'string') patterns.push({ at: `${path}/pattern`, text: node.pattern });
  if (isNode(node.patternProperties)) {
    for (const text of Object.keys(node.patternProperties)) {
      patterns.push({ at: `${path}/patternProperties${pointerStep(text)}`, text });
    }
  }
  return patterns.flatMap(({ at, text }) => {
    const problem = patternProblem(text, walk);
    return problem === null ? [] : [{ path: at, rule: 'pattern', message: problem }];
  });
}

/** Counts with references followed. A schema that reaches itself has no finite count, and no table to be loaded into. */
function countIssues(document: unknown): Issue[] {
  const counts = new Map<unknown, number>();
  const underway = new Set<unknown>();
  let recursive = false;

  function countOf(value: unknown): number {
    if (typeof value === 'boolean') return 1;
    if (!isNode(value)) return 0;
    const known = counts.get(value);
    if (known !== undefined) return known;
    if (underway.has(value)) {
      recursive = true;
      return 0;
    }
    underway.add(value);
    let count = 1;
    for (const child of childrenOf(value)) count += countOf(child.value);
    if (typeof value.$ref === 'string') count += countOf(resolve(document, value.$ref));
    underway.delete(value);
    counts.set(value, Math.min(count, Number.MAX_SAFE_INTEGER));
    return count;
  }

  const count = countOf(document);
  if (recursive) return [{ path: '', rule: '$ref', message: 'refers to itself; a record must have a finite shape' }];
  if (count <= contractLimits.subschemas) return [];
  return [tooMany(count)];
}

function tooMany(count: number): Issue {
  const message = `holds ${count} subschemas with every $ref followed; at most ${contractLimits.subschemas} are allowed`;
  return { path: '', rule: 'maxSubschemas', message };
}

/** What a local JSON Pointer reference points at; undefined when that is nothing. */
function resolve(document: unknown, reference: string): unknown {
  let at: unknown = document;
  for (const step of reference.slice(1).split('/').slice(1)) {
    const name = decodeStep(step);
    if (name === null || at === null || typeof at !== 'object' || !Object.hasOwn(at, name)) return undefined;
    at = (at as Node)[name];
  }
  return at;
}

/** The reference as pointers are written here. */
function placeOf(reference: string): string {
  const steps = reference.slice(1).split('/').slice(1);
  return steps.map((step) => pointerStep(decodeStep(step) ?? '')).join('');
}

function decodeStep(step: string): string | null {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return null;
  }
}

function isNode(value: unknown): value is Node {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
