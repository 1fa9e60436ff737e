/** Writes src/contracts/generated.ts from schemas/v1: one truth for what is checked and what the compiler knows. */
import { readFile, writeFile } from 'node:fs/promises';
import { compile, type JSONSchema } from 'json-schema-to-typescript';

const documents = ['agency-manifest', 'run-payload', 'connection', 'pipeline'];
const folder = new URL('../schemas/v1/', import.meta.url);
const target = new URL('../src/contracts/generated.ts', import.meta.url);

const banner =
  '/** Generated from schemas/v1 by scripts/generate-contract-types.ts. Change the schemas, not this file. */\n';

/** `type: object` beside a discriminated `oneOf` would add an index signature to the union, which then narrows no more. */
function plainUnions(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(plainUnions);
  if (node === null || typeof node !== 'object') return node;
  const entries = Object.entries(node).map(([key, value]) => [key, plainUnions(value)] as const);
  if (!Object.hasOwn(node, 'discriminator')) return Object.fromEntries(entries);
  return Object.fromEntries(entries.filter(([key]) => key === 'oneOf'));
}

async function typesOf(document: string): Promise<string> {
  const text = await readFile(new URL(`${document}.schema.json`, folder), 'utf8');
  const schema = plainUnions(JSON.parse(text)) as JSONSchema;
  delete schema.$id;
  return compile(schema, schema.title ?? document, {
    bannerComment: '',
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    style: { singleQuote: true, printWidth: 130 },
  });
}

const parts: string[] = [];
for (const document of documents) parts.push(await typesOf(document));
await writeFile(target, [banner, ...parts].join('\n'));
