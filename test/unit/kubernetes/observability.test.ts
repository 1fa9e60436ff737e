/** Alert rules and dashboards: Prometheus' own tool tests the rules; whether the metrics exist is test/e2e/metrics.test.ts's. */
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { expect, test, vi } from 'vitest';
import { parse } from 'yaml';

import { checkout, rendered } from '../../support/kustomize.ts';

vi.setConfig({ testTimeout: 120_000 });

const folder = path.join(checkout, 'k8s', 'overlays', 'observability');
const hasPromtool = spawnSync('promtool', ['--version']).error === undefined;
const without = 'promtool is not here; Debian has it in its package prometheus';

interface Rules {
  groups: {
    rules: { alert?: string; record?: string; labels?: Record<string, string>; annotations?: Record<string, string> }[];
  }[];
}
const { groups } = parse(readFileSync(path.join(folder, 'rules', 'flux.yaml'), 'utf8')) as Rules;
const alerts = groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert !== undefined);

function promtool(...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: path.join(folder, 'rules'), encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}` };
}

test('Prometheus takes the rules and its configuration', (context) => {
  if (!hasPromtool) return context.skip(without);
  for (const args of [
    ['check', 'rules', 'flux.yaml'],
    ['check', 'config', '--syntax-only', '../config/prometheus.yml'],
  ]) {
    const { status, said } = promtool(...args);
    expect(status, said).toBe(0);
  }
});

test('each alert fires when it should, and not before', (context) => {
  if (!hasPromtool) return context.skip(without);
  const { status, said } = promtool('test', 'rules', 'flux.test.yaml');
  expect(status, said).toBe(0);
});

test('every alert has a test in which it fires', () => {
  const { tests } = parse(readFileSync(path.join(folder, 'rules', 'flux.test.yaml'), 'utf8')) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[];
  };
  const fired = new Set(
    tests.flatMap(({ alert_rule_test: cases }) =>
      cases.filter(({ exp_alerts: some }) => some.length > 0).map(({ alertname }) => alertname),
    ),
  );
  expect(fired).toEqual(new Set(alerts.map(({ alert }) => alert)));
});

test('every service level has an alert, and every alert says how bad it is, what is so and what to do', () => {
  const levels = new Set(alerts.map(({ labels }) => labels?.['slo']));
  for (const level of ['availability', 'latency', 'checkpoints', 'isolation', 'recovery'])
    expect(levels).toContain(level);
  for (const { alert, labels, annotations } of alerts) {
    expect(labels?.['severity'], alert).toMatch(/^(critical|warning)$/);
    expect(Object.keys(annotations ?? {}).sort(), alert).toEqual(['description', 'runbook', 'summary']);
  }
});

test('four dashboards are what Grafana is given, each with panels that ask Prometheus', (context) => {
  const files = globSync('*.json', { cwd: path.join(folder, 'dashboards') }).sort();
  expect(files).toEqual(['api.json', 'overview.json', 'run-engine.json', 'tenancy-and-audit.json']);
  const maps = rendered(context, 'observability').filter(({ kind }) => kind === 'ConfigMap');
  const given = maps.find(({ metadata }) => metadata.name.startsWith('grafana-dashboards-'))?.data ?? {};
  expect(Object.keys(given).sort()).toEqual(files);
  const ids = new Set<string>();
  for (const file of files) {
    const { uid, title, panels } = JSON.parse(given[file] ?? '') as {
      uid: string;
      title: string;
      panels: { datasource: { uid: string }; targets: { expr: string }[] }[];
    };
    ids.add(uid);
    expect(title).toMatch(/^Flux: /);
    expect(panels.length, file).toBeGreaterThanOrEqual(6);
    for (const { datasource, targets } of panels) {
      expect(datasource.uid).toBe('prometheus');
      expect(targets.length).toBeGreaterThan(0);
    }
  }
  expect(ids.size).toBe(files.length);
});
