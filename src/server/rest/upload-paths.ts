/** The routes of src/server/uploads.ts in the OpenAPI document: they carry bytes, which the schema does not know of. */

type Schema = Record<string, unknown>;

const headers = {
  'Upload-Complete': { description: '`?1` when all bytes are there and fit the digest.', schema: { type: 'string' } },
  'Upload-Offset': { description: 'Bytes that are there: where the next part begins.', schema: { type: 'string' } },
  'Upload-Length': { description: 'Bytes of the whole.', schema: { type: 'string' } },
  'Repr-Digest': { description: '`sha-256=:<base64>:` of the whole (RFC 9530).', schema: { type: 'string' } },
};

const upload: Schema = {
  type: 'object',
  description: 'A file that Flux has, or is getting.',
  required: ['source', 'status', 'byteCount', 'received', 'sha256'],
  properties: {
    source: { type: 'string', description: 'What a pipeline’s source says to read it: `upload://name`.' },
    status: { type: 'string', enum: ['OPEN', 'COMPLETE'] },
    byteCount: { type: 'string', description: 'Bytes of the whole, as digits.' },
    received: { type: 'string', description: 'Bytes that are there, as digits.' },
    sha256: { type: 'string', nullable: true, description: 'Of the whole once it is there, in hexadecimal digits.' },
  },
};

/** Not below /v1/rest, like all the others. */
const servers = [{ url: '/v1' }];
const named: Schema = {
  name: 'name',
  in: 'path',
  required: true,
  description: 'Letters, digits, dots, dashes and underscores.',
  schema: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' },
};

const header = (name: string, description: string): Schema => ({
  name,
  in: 'header',
  required: false,
  description,
  schema: { type: 'string' },
});

/** @param refused the answers that every route may give, by status */
export function uploadPaths(refused: Record<string, Schema>): Record<string, Schema> {
  const taken = (description: string): Schema => ({
    description,
    headers,
    content: { 'application/json': { schema: upload } },
  });
  return {
    '/uploads/{name}': {
      put: {
        operationId: 'putUpload',
        servers,
        tags: ['mutations'],
        summary: 'Sends a file, whole or a part of it.',
        description:
          'Without Content-Range the body is the whole file; with it, a part that begins where the last one ended. One request has 30 seconds, and what a broken one has brought is kept. Needs the scope run:write.',
        parameters: [
          named,
          header('Content-Range', '`bytes first-last/whole` (RFC 9110): where the body belongs.'),
          header('Repr-Digest', '`sha-256=:<base64>:` (RFC 9530): what the whole must be.'),
        ],
        requestBody: {
          required: true,
          content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
        },
        responses: {
          201: taken('The whole is there.'),
          202: taken('The part is there; more is missing.'),
          ...refused,
          409: {
            description: 'The part begins at another byte than the upload goes on at (Upload-Offset).',
            headers: { 'Upload-Offset': headers['Upload-Offset'] },
            content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
          },
        },
      },
      head: {
        operationId: 'findUpload',
        servers,
        tags: ['queries'],
        summary: 'Says how much of a file has arrived.',
        description:
          'The upload of this name that is under way, or else the newest that is complete. Needs the scope run:write.',
        parameters: [named],
        responses: {
          200: { description: 'Its headers say it.', headers },
          401: { description: 'There is no token, or it is not valid.' },
          403: { description: 'The role lacks the scope.' },
          404: { description: 'There is no upload of that name.' },
        },
      },
    },
  };
}
