import type { FastifyInstance } from 'fastify';

export const docsPath = '/v1/docs';

/** No script, no font, no image, nothing from elsewhere: the page is whole as it comes. */
const policy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

interface Operation {
  summary: string;
  description: string;
  deprecated?: boolean;
  /** Where it is, if not where the others are. */
  servers?: { url: string }[];
  parameters: { name: string; in: string; required: boolean; description?: string; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { $ref?: string; description?: string; content?: Record<string, { schema: Schema }> }>;
}

interface Schema {
  $ref?: string;
  type?: string;
  title?: string;
  format?: string;
  description?: string;
  nullable?: boolean;
  enum?: string[];
  items?: Schema;
  allOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
}

/** The OpenAPI document as a page for people. */
export function serveDocs(server: FastifyInstance, document: Record<string, unknown>): void {
  let page: string | undefined;
  server.get(docsPath, (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', policy)
      .send((page ??= docsPage(document))),
  );
}

export function docsPage(document: Record<string, unknown>): string {
  const paths = document['paths'] as Record<string, Record<string, Operation>>;
  const components = document['components'] as { schemas: Record<string, Schema> };
  const { description } = document['info'] as { description: string };
  const [{ url }] = document['servers'] as [{ url: string }];
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      operationHtml(operation.servers?.[0]?.url ?? url, path, method, operation),
    ),
  );
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Flux API</title>
<style>${style}</style>
<h1>Flux API</h1>
<p>${escape(description)}</p>
<p>Every request needs <code>Authorization: Bearer &lt;token&gt;</code>. Failures are <code>application/problem+json</code> with a stable <code>code</code>. The document behind this page is <a href="${url}/openapi.json">openapi.json</a> (OpenAPI 3.0), for generators of clients.</p>
<h2>Operations</h2>
${operations.join('\n')}
<h2>Types</h2>
${Object.entries(components.schemas)
  .map(([name, schema]) => `<section id="${escape(name)}"><h3>${escape(name)}</h3>${schemaHtml(schema)}</section>`)
  .join('\n')}
</html>
`;
}

const style =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}' +
  'details{border:1px solid #a9aeb1;border-radius:4px;margin:.5rem 0;padding:.25rem .75rem}summary{cursor:pointer}' +
  'code{font-size:.9em}table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #dfe1e2;padding:.25rem .5rem;' +
  'text-align:left;vertical-align:top}.m{display:inline-block;min-width:3.5rem;font-weight:700}a:focus,summary:focus{outline:3px solid #2491ff}';

function operationHtml(base: string, path: string, method: string, operation: Operation): string {
  const [body] = Object.values(operation.requestBody?.content ?? {}).map(({ schema }) => schema);
  const { 200: usual, 201: created } = operation.responses;
  const answer = (usual ?? created)?.content?.['application/json']?.schema;
  const rows = operation.parameters.map(
    ({ name, in: where, required, description = '', schema }) =>
      `<tr><td><code>${escape(name)}</code></td><td>${where}${required ? ', required' : ''}</td><td>${typeHtml(schema)}</td><td>${escape(description)}</td></tr>`,
  );
  return `<details id="${method}${escape(path)}"><summary><span class="m">${method.toUpperCase()}</span> <code>${escape(base + path)}</code> ${escape(operation.summary)}</summary>
<p>${escape(operation.description)}${operation.deprecated ? ' <strong>Deprecated.</strong>' : ''}</p>
${rows.length > 0 ? `<table><caption>Parameters</caption>${rows.join('')}</table>` : ''}
${body ? `<h4>Body</h4><p>${typeHtml(body)}</p>` : ''}
${answer ? `<h4>Answer</h4>${schemaHtml(answer)}` : ''}
</details>`;
}

function schemaHtml(schema: Schema): string {
  const described = schema.description ? `<p>${escape(schema.description)}</p>` : '';
  if (schema.oneOf)
    return `${described}${schema.oneOf.map((one) => `<p>Either ${escape(one.title ?? '')}</p>${schemaHtml(one)}`).join('')}`;
  if (schema.enum) return `${described}<p>${schema.enum.map((one) => `<code>${escape(one)}</code>`).join(' ')}</p>`;
  if (!schema.properties) return `${described}<p>${typeHtml(schema)}</p>`;
  const rows = Object.entries(schema.properties).map(
    ([name, inner]) =>
      `<tr><td><code>${escape(name)}</code></td><td>${typeHtml(inner)}${schema.required?.includes(name) ? '' : ' <small>optional</small>'}</td><td>${escape(inner.description ?? '')}${inner.properties ? schemaHtml({ ...inner, description: '' }) : ''}${inner.items?.properties ? schemaHtml({ ...inner.items, description: '' }) : ''}</td></tr>`,
  );
  return `${described}<table>${rows.join('')}</table>`;
}

function typeHtml(schema: Schema): string {
  const [only] = schema.allOf ?? [];
  const named = only ?? schema;
  const suffix = schema.nullable ? ' or null' : '';
  if (named.$ref) {
    const name = named.$ref.split('/').at(-1) ?? '';
    return `<a href="#${escape(name)}">${escape(name)}</a>${suffix}`;
  }
  if (schema.type === 'array') return `list of ${typeHtml(schema.items ?? {})}${suffix}`;
  return escape(schema.title ?? schema.format ?? schema.type ?? 'any JSON') + suffix;
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => entities[char] ?? char);
}
