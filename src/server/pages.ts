import type { FastifyInstance, FastifyReply } from 'fastify';

import { type DashboardOptions, serveDashboard } from './dashboard.ts';

const plainPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
// The editor is one file with its script, styles and workers inside; it talks to this server alone.
const editorPolicy =
  "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; " +
  "img-src 'self' data:; font-src data:; connect-src 'self' ws: wss: data:; frame-ancestors 'none'";

export interface PagesOptions {
  graphqlPath: string;
  production: boolean;
  dashboard?: DashboardOptions;
}

/**
 * `/`: the dashboard, or what is where. `/graphiql`, outside production: the editor, whole in one file, so that it works without a
 * network.
 */
export function servePages(server: FastifyInstance, options: PagesOptions): void {
  const sendIndex = (reply: FastifyReply): FastifyReply =>
    reply.type('text/html; charset=utf-8').header('content-security-policy', plainPolicy).send(indexPage(options));
  if (options.dashboard) serveDashboard(server, options.dashboard, sendIndex);
  else server.get('/', (_request, reply) => sendIndex(reply));
  if (options.production) return;
  let page: Promise<string> | undefined;
  server.get('/graphiql', async (_request, reply) => {
    page ??= graphiqlPage(options.graphqlPath);
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', editorPolicy)
      .send(await page);
  });
}

function indexPage({ graphqlPath, production, dashboard }: PagesOptions): string {
  const entries = [
    dashboard
      ? '<dt>The dashboard is not built here</dt><dd><code>npm run build:dashboard</code> builds it; then this address shows it.</dd>'
      : '',
    `<dt><code>${graphqlPath}</code></dt><dd>GraphQL: POST with <code>Authorization: Bearer &lt;token&gt;</code>; subscriptions over WebSocket (<code>graphql-transport-ws</code>) at the same address.</dd>`,
    '<dt><a href="/v1/docs">/v1/docs</a></dt><dd>The same operations as resources under <code>/v1/rest</code>, and their OpenAPI document.</dd>',
    production
      ? ''
      : '<dt><a href="/graphiql">/graphiql</a></dt><dd>An editor for it. Open <code>/graphiql#token=&lt;token&gt;</code>; <code>flux token --agency nasa --role operator --sub you@example.gov</code> prints one.</dd>',
    '<dt><a href="/health/live">/health/live</a>, <a href="/health/ready">/health/ready</a></dt><dd>Whether this process and what it needs answer.</dd>',
  ];
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Flux</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}dt{margin-top:1rem}code{font-size:.9em}</style>
<h1>Flux</h1>
<p>Live, resumable, reconciled, isolated, provable: this is the API of a Flux installation.</p>
<dl>
${entries.join('\n')}
</dl>
</html>
`;
}

/**
 * The token comes in the address's fragment, which a browser does not send, or from a prompt, and stays in the tab's session.
 * Queries carry it as a header and subscriptions in connection_init.
 */
const tokenScript = `<script>
function fluxOptions(options) {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    sessionStorage.setItem('flux-token', given);
    history.replaceState({}, '', location.pathname + location.search);
  }
  const token = sessionStorage.getItem('flux-token') || prompt('Token (flux token prints one)') || '';
  if (token) sessionStorage.setItem('flux-token', token);
  const authorization = 'Bearer ' + token;
  return Object.assign(options, { additionalHeaders: { authorization }, connectionParams: () => ({ authorization }) });
}
</script>`;

async function graphiqlPage(endpoint: string): Promise<string> {
  // Nine megabytes: loaded by the first who asks, not by every start.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const options = {
    title: 'Flux GraphiQL',
    endpoint,
    subscriptionsProtocol: 'WS' as const,
    shouldPersistHeaders: false,
    defaultQuery:
      '# The caller, as the token says it.\nquery Viewer {\n  viewer {\n    subject\n    agency\n    role\n    scopes\n  }\n}\n',
  };
  const html = renderGraphiQL(options);
  const json = JSON.stringify(options);
  const at = html.lastIndexOf(json);
  const head = html.indexOf('</head>');
  if (at < 0 || head < 0) throw new Error('render-graphiql prints its options elsewhere now; look at pages.ts');
  return `${html.slice(0, head)}${tokenScript}${html.slice(head, at)}fluxOptions(${json})${html.slice(at + json.length)}`;
}
