import { createHash } from 'node:crypto';

import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import { parse } from 'csv-parse/sync';
import { unzipSync } from 'fflate';
import { expect } from 'vitest';

export interface OpenedPackage {
  /** By path. */
  files: Record<string, Buffer>;
  /** In the order of the archive's directory. */
  paths: string[];
  descriptor: Descriptor;
  /** Of the data file, by the names in its header. */
  records: Record<string, string | undefined>[];
  header: string[];
}

export interface Descriptor {
  $schema: string;
  name: string;
  title: string;
  created: string;
  classification: string;
  sources?: Record<string, unknown>[];
  keywords?: string[];
  resources: [
    {
      name: string;
      path: string;
      bytes: number;
      hash: string;
      schema: {
        fields: { name: string; type: string; masked?: string; title?: string; constraints?: object }[];
        primaryKey?: string[];
        missingValues: string[];
      };
    },
  ];
}

/**
 * What the Data Package standard 2.0 demands (https://datapackage.org/standard: package, resource, Table Schema, security of paths), and what
 * it says of the properties that Flux writes.
 */
const standard = {
  type: 'object',
  required: ['$schema', 'resources'],
  properties: {
    $schema: { const: 'https://datapackage.org/profiles/2.0/datapackage.json' },
    name: { type: 'string', pattern: '^[-a-z0-9._]+$' },
    title: { type: 'string', minLength: 1 },
    description: { type: 'string' },
    created: { type: 'string', format: 'date-time' },
    keywords: { type: 'array', minItems: 1, items: { type: 'string' } },
    sources: {
      type: 'array',
      items: {
        type: 'object',
        minProperties: 1,
        properties: { title: { type: 'string' }, version: { type: 'string' }, path: { type: 'string' } },
      },
    },
    resources: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        required: ['name', 'path'],
        properties: {
          $schema: { const: 'https://datapackage.org/profiles/2.0/dataresource.json' },
          name: { type: 'string', minLength: 1 },
          type: { const: 'table' },
          path: { type: 'string', pattern: '^(?![./~])(?!.*\\.\\./)(?!.*\\\\).+$' },
          mediatype: { type: 'string', pattern: '^.+/.+$' },
          encoding: { type: 'string' },
          bytes: { type: 'integer', minimum: 0 },
          hash: { type: 'string', pattern: '^sha256:[0-9a-f]{64}$' },
          schema: {
            type: 'object',
            required: ['fields'],
            properties: {
              $schema: { const: 'https://datapackage.org/profiles/2.0/tableschema.json' },
              fields: {
                type: 'array',
                minItems: 1,
                items: {
                  type: 'object',
                  required: ['name'],
                  properties: {
                    name: { type: 'string' },
                    type: { enum: ['string', 'number', 'integer', 'boolean', 'date', 'datetime', 'any'] },
                    constraints: { type: 'object', properties: { required: { type: 'boolean' } } },
                  },
                },
              },
              primaryKey: { type: 'array', minItems: 1, uniqueItems: true, items: { type: 'string' } },
              missingValues: { type: 'array', items: { type: 'string' }, uniqueItems: true },
            },
          },
        },
      },
    },
  },
} as const;

const ajv = new Ajv({ strict: false, allErrors: true });
formats.default(ajv);
const conforms = ajv.compile(standard);

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Opens a package with programs that Flux does not write it with, and holds it to the standard, to its sums and to its sizes. */
export function openPackage(archive: Uint8Array): OpenedPackage {
  const unzipped = unzipSync(archive);
  const paths = Object.keys(unzipped);
  const files = Object.fromEntries(Object.entries(unzipped).map(([path, bytes]) => [path, Buffer.from(bytes)]));
  const text = (path: string): string => files[path]?.toString('utf8') ?? '';
  const descriptor = JSON.parse(text('datapackage.json')) as Descriptor;
  expect(conforms(descriptor), JSON.stringify(conforms.errors)).toBe(true);
  const summed = text('manifest-sha256.txt').trimEnd().split('\n');
  expect(summed).toEqual(
    paths
      .filter((path) => path !== 'manifest-sha256.txt')
      .map((path) => `${sha256Of(files[path] ?? Buffer.alloc(0))}  ${path}`),
  );
  const [resource] = descriptor.resources;
  const data = files[resource.path] ?? Buffer.alloc(0);
  expect({ bytes: data.length, hash: `sha256:${sha256Of(data)}` }).toEqual({
    bytes: resource.bytes,
    hash: resource.hash,
  });
  const [header = [], ...rows] = parse(data, { record_delimiter: '\r\n', skip_empty_lines: false });
  expect(header).toEqual(resource.schema.fields.map(({ name }) => name));
  const records = rows.map((row) => Object.fromEntries(header.map((name, at) => [name, row[at]])));
  return { files, paths, descriptor, records, header };
}
