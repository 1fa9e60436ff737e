/** The numbers of a real installation while a real run happens: API and worker are processes of `flux up`. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';

import { loadConfig } from '../../src/config.ts';
import { connect } from '../../src/db/pool.ts';
import { installedRoles } from '../../src/db/installation.ts';
import { roleUrl } from '../../src/db/roles.ts';
import { sql } from '../../src/db/sql.ts';

import { type Alpha, startAlpha } from '../support/alpha.ts';
import { connectionDocument, contractDocument, pipelineDocument } from '../support/api.ts';
import { eventually, readRunFile } from '../support/flux.ts';

let home: string;
let alpha: Alpha;
let apiMetrics: string;
let text: { api: string; worker: string };

beforeAll(async () => {
  alpha = await startAlpha('metrics', { readings: ['2001', '2002', 'never'], env: { LOG_LEVEL: 'warn' } });
  ({ home } = alpha);
  apiMetrics = alpha.metrics;
  const { metricsUrls = [] } = (await readRunFile(home)) as { metricsUrls?: string[] };
  expect(metricsUrls).toHaveLength(2);
  expect(metricsUrls[0]).toBe(apiMetrics);

  await alpha.register('connections', 'files', connectionDocument);
  await alpha.register('contracts', 'reading', contractDocument);
  const contract = { name: 'reading', version: 1, maxRejectedRatio: 0.5 };
  await alpha.register('pipelines', 'readings', pipelineDocument('readings', { contract }));
  await alpha.run(['runs', 'start', 'readings', '--watch'], { FLUX_TOKEN: alpha.token });

  const scrape = async (url = ''): Promise<string> => (await fetch(url)).text();
  text = {
    api: await eventually(
      () => scrape(apiMetrics),
      (found) => value(found, 'flux_active_runs') === 0,
    ),
    worker: await scrape(metricsUrls[1]),
  };
}, 120_000);

afterAll(async () => {
  await alpha.stop();
  await alpha.remove();
});

/** The value of a series, undefined when it is not there. */
function value(exposition: string, series: string): number | undefined {
  const line = exposition.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

const names = (exposition: string): string[] =>
  [...exposition.matchAll(/^# TYPE (flux_\S+) (\S+)$/gm)].map(([, name = '']) => name);

test('the worker counts what the run did', () => {
  const found = (series: string): number | undefined => value(text.worker, series);
  expect(found('flux_runs_total{status="COMPLETED"}')).toBe(1);
  expect(found('flux_runs_total{status="FAILED"}')).toBe(0);
  expect(found('flux_records_total{result="read"}')).toBe(3);
  expect(found('flux_records_total{result="written"}')).toBe(2);
  expect(found('flux_records_total{result="rejected"}')).toBe(1);
  expect(found('flux_checkpoints_saved_total{success="true"}')).toBe(found('flux_checkpoint_size_bytes_count'));
  expect(found('flux_checkpoints_saved_total{success="true"}')).toBeGreaterThan(0);
  expect(found('flux_checkpoints_saved_total{success="false"}')).toBe(0);
  expect(found('flux_lease_takeovers_total')).toBe(0);
  expect(found('flux_pool_connections{pool="worker",state="used"}')).toBeTypeOf('number');
});

test('the API counts what it answered, and shows the state of the installation', () => {
  const found = (series: string): number | undefined => value(text.api, series);
  expect(found('flux_requests_total{method="POST",route="/v1/graphql",status="200"}')).toBeGreaterThan(3);
  expect(found('flux_request_duration_seconds_count{method="POST",route="/v1/graphql"}')).toBeGreaterThan(3);
  expect(found('flux_event_delivery_lag_seconds_count')).toBeGreaterThan(0);
  expect(found('flux_notifications_missed_total')).toBeTypeOf('number');
  expect(found('flux_isolation_violations_total')).toBe(0);
  expect(found('flux_queue_depth')).toBe(0);
  expect(found('flux_partitions_executing')).toBe(0);
  expect(found('flux_audit_seal_lag_seconds')).toBeTypeOf('number');
  expect(found('flux_pool_waiting{pool="api"}')).toBe(0);
  expect(found('nodejs_eventloop_lag_seconds')).toBeTypeOf('number');
});

test('a caller who makes up paths makes no new series, and a refused one is counted', async () => {
  const { port } = new URL((await readRunFile(home)).apiUrl);
  for (const made of ['/a', '/b?c']) await fetch(`http://127.0.0.1:${port}${made}`);
  await fetch(`http://127.0.0.1:${port}/v1/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"query":"{viewer{subject}}"}',
  });
  const after = await (await fetch(apiMetrics)).text();
  expect(value(after, 'flux_requests_total{method="GET",route="none",status="404"}')).toBe(2);
  expect(value(after, 'flux_errors_total{class="AUTHENTICATION"}')).toBe(1);
  expect(after).not.toMatch(/route="\/[ab]/);
});

test('every name keeps the conventions, and no label takes a value from a caller', () => {
  const labels = { method: 8, route: 12, status: 20, class: 7, result: 4, success: 2, pool: 2, state: 2, le: 20 };
  for (const exposition of Object.values(text)) {
    for (const [, name = '', type = ''] of exposition.matchAll(/^# TYPE (flux_\S+) (\S+)$/gm)) {
      expect(name).toMatch(/^flux_[a-z]+(_[a-z]+)*$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      expect(name).not.toMatch(/_(milliseconds|ms|kilobytes|kb|minutes|count|sum|bucket)$/);
      if (type === 'histogram') expect(name).toMatch(/_(seconds|bytes)$/);
    }
    const seen = new Map<string, Set<string>>();
    for (const line of exposition.split('\n').filter((candidate) => candidate.startsWith('flux_'))) {
      for (const [, label = '', found = ''] of line.matchAll(/([a-z]+)="([^"]*)"/g)) {
        seen.set(label, (seen.get(label) ?? new Set()).add(found));
      }
    }
    for (const [label, found] of seen) {
      expect(found.size, label).toBeLessThanOrEqual(labels[label as keyof typeof labels] ?? 0);
    }
  }
  expect(names(text.api)).toEqual(expect.arrayContaining(['flux_errors_total', 'flux_active_runs']));
});

const manifests = path.join(import.meta.dirname, '..', '..', 'k8s');

/** Every query of the dashboards and of the alert rules, with the place it stands in. */
function queries(): { at: string; expr: string }[] {
  const folder = path.join(manifests, 'overlays', 'observability');
  const boards = globSync('dashboards/*.json', { cwd: folder }).flatMap((file) => {
    const { panels } = JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as {
      panels: { title: string; targets: { expr: string }[] }[];
    };
    return panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ at: `${file}: ${title}`, expr })));
  });
  const { groups } = parse(readFileSync(path.join(folder, 'rules', 'flux.yaml'), 'utf8')) as {
    groups: { rules: { alert?: string; record?: string; expr: string }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  return [...boards, ...rules.map(({ alert, record, expr }) => ({ at: alert ?? record ?? '', expr }))];
}

test('every query of the dashboards and alerts asks for series that the processes have, by labels that these carry', () => {
  const recorded = new Set(queries().map(({ at }) => at));
  const labelsOf = new Map<string, Set<string>>();
  for (const line of Object.values(text).join('\n').split('\n')) {
    const [, name, labels = ''] = /^([a-z_0-9]+)(?:\{(.*)\})? /.exec(line) ?? [];
    if (name === undefined) continue;
    const known = labelsOf.get(name) ?? new Set(['job', 'instance']);
    for (const [, label = ''] of labels.matchAll(/([a-z_]+)="/g)) known.add(label);
    labelsOf.set(name, known);
  }
  // Prometheus' own, one for each target.
  labelsOf.set('up', new Set(['job', 'instance']));
  const asked = queries().flatMap(({ at, expr }) =>
    [...expr.matchAll(/(?<![\w:"])([a-z][\w:]*_[\w:]*|up)(?:\{([^}]*)\})?(?!\s*\(|\w)/g)].map(
      ([, name = '', labels = '']) => ({
        at,
        name,
        labels: [...labels.matchAll(/([a-z_]+)(?:=~|!~|!=|=)/g)].map(([, label]) => label),
      }),
    ),
  );
  expect(asked.length).toBeGreaterThan(60);
  for (const { at, name, labels } of asked) {
    if (recorded.has(name)) continue;
    const known = labelsOf.get(name);
    expect(known, `${at} asks for ${name}`).toBeDefined();
    for (const label of labels) expect(known, `${at}: ${name}{${label ?? ''}}`).toContain(label);
  }
});

test('the query by which KEDA scales is one that its login may ask, and answers with a number', async () => {
  const source = readFileSync(path.join(manifests, 'components', 'keda', 'scaling.yaml'), 'utf8');
  const scaled = parseAllDocuments(source)[0]?.toJS() as { spec: { triggers: { metadata: { query: string } }[] } };
  const { adminUrl } = await readRunFile(home);
  const { contextKey } = loadConfig({ FLUX_HOME: home });
  const { worker } = await installedRoles(adminUrl);
  const connection = await connect({ url: roleUrl(adminUrl, worker, contextKey), applicationName: 'flux tests' });
  try {
    const { rows } = await connection.query<Record<string, unknown>>(
      sql([scaled.spec.triggers[0]?.metadata.query ?? ''] as unknown as TemplateStringsArray),
    );
    expect(rows.map((row) => Object.values(row).map(Number))).toEqual([[0]]);
  } finally {
    await connection.end();
  }
});
