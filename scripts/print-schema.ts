/** Prints the schema with its authorization directives to schema/schema.graphql, the file that clients and codegen read. */
import { writeFile } from 'node:fs/promises';

import { printSchemaWithDirectives } from '@graphql-tools/utils';
import { lexicographicSortSchema } from 'graphql';

import { schema } from '../schema/schema.ts';

await writeFile(
  new URL('../schema/schema.graphql', import.meta.url),
  `${printSchemaWithDirectives(lexicographicSortSchema(schema))}\n`,
);
