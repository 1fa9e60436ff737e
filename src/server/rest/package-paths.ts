/** The route of src/server/packages.ts in the OpenAPI document: it carries bytes, which the schema does not know of. */

type Schema = Record<string, unknown>;

/** @param refused the answers that every route may give, by status */
export function packagePaths(refused: Record<string, Schema>): Record<string, Schema> {
  return {
    '/datasets/{name}/package': {
      get: {
        operationId: 'downloadPackage',
        // Not below /v1/rest, like all the others.
        servers: [{ url: '/v1' }],
        tags: ['queries'],
        summary: 'Downloads a dataset as a Frictionless Data Package.',
        description:
          'The published loads that the caller may see, as they are at one moment, in a ZIP archive that is made while it is sent. Its length is not known before; one that was broken off ends without the last chunk. Needs the scope data:read.',
        parameters: [
          {
            name: 'name',
            in: 'path',
            required: true,
            description: 'The dataset.',
            schema: { type: 'string', pattern: '^[a-z][a-z0-9_]{0,47}$' },
          },
        ],
        responses: {
          200: {
            description: 'The package.',
            headers: {
              'Content-Disposition': { description: 'Its file name.', schema: { type: 'string' } },
            },
            content: { 'application/zip': { schema: { type: 'string', format: 'binary' } } },
          },
          ...refused,
        },
      },
    },
  };
}
