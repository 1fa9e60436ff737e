/** Writes schema/openapi.json, the REST side of the API, so that a change to it shows in a review. */
import { writeFile } from 'node:fs/promises';

import { lexicographicSortSchema } from 'graphql';

import { schema } from '../schema/schema.ts';
import { openApiDocument } from '../src/server/rest/openapi.ts';

await writeFile(
  new URL('../schema/openapi.json', import.meta.url),
  `${JSON.stringify(openApiDocument(lexicographicSortSchema(schema)), null, 2)}\n`,
);
