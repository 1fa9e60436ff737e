/** The rules that the manifests keep, one test each, over what a cluster would be given. */
import { expect, test, type TestContext, vi } from 'vitest';

import { workerDrainMs } from '../../../src/main.ts';
import { type Container, type Manifest, type Overlay, overlays, rendered } from '../../support/kustomize.ts';

// Six overlays are rendered first.
vi.setConfig({ testTimeout: 120_000 });

const workloadKinds = ['Deployment', 'StatefulSet', 'Job'];
/** Theirs is the product; the rest is a database for development, and what watches. */
const services = ['flux-api', 'flux-worker', 'flux-sealer'];

const of = (manifests: readonly Manifest[], ...kinds: string[]): Manifest[] =>
  manifests.filter(({ kind }) => kinds.includes(kind));
const named = (manifests: readonly Manifest[], kind: string, name: string): Manifest | undefined =>
  of(manifests, kind).find(({ metadata }) => metadata.name === name);
const containersOf = ({ spec }: Manifest): Container[] => [
  ...(spec.template.spec.initContainers ?? []),
  ...spec.template.spec.containers,
];

/** Asserts about every workload of every overlay. */
function everyWorkload(context: Pick<TestContext, 'skip'>, check: (workload: Manifest, of: string) => void): void {
  let checked = 0;
  for (const overlay of overlays) {
    for (const workload of of(rendered(context, overlay), ...workloadKinds)) {
      check(workload, `${overlay}: ${workload.kind} ${workload.metadata.name}`);
      checked++;
    }
  }
  expect(checked).toBeGreaterThan(20);
}

test('nothing runs as root', (context) => {
  everyWorkload(context, ({ spec }, at) => {
    expect(spec.template.spec.securityContext, at).toMatchObject({ runAsNonRoot: true });
    const { runAsUser } = spec.template.spec.securityContext as { runAsUser: number };
    expect(runAsUser, at).toBeGreaterThan(0);
  });
});

test('every root file system is read-only, and only volumes that are made for it are written', (context) => {
  everyWorkload(context, (workload, at) => {
    for (const { securityContext, volumeMounts = [] } of containersOf(workload)) {
      expect(securityContext, at).toMatchObject({ readOnlyRootFilesystem: true });
      const { volumes = [] } = workload.spec.template.spec;
      const claimed = (workload.spec['volumeClaimTemplates'] ?? []) as Manifest[];
      for (const { name, readOnly } of volumeMounts.filter((mount) => mount.readOnly !== true)) {
        const volume = volumes.find((it) => it.name === name);
        const isOwn = volume ? 'emptyDir' in volume || 'persistentVolumeClaim' in volume : undefined;
        expect(
          isOwn ?? claimed.some(({ metadata }) => metadata.name === name),
          `${at} ${name} ${String(readOnly)}`,
        ).toBe(true);
      }
    }
  });
});

test('every capability is dropped, and no privilege can be gained', (context) => {
  everyWorkload(context, (workload, at) => {
    for (const { securityContext } of containersOf(workload)) {
      expect(securityContext, at).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  });
});

test('every pod keeps the runtime’s seccomp profile, and every namespace enforces the restricted standard', (context) => {
  everyWorkload(context, ({ spec }, at) => {
    expect(spec.template.spec.securityContext, at).toMatchObject({ seccompProfile: { type: 'RuntimeDefault' } });
  });
  for (const overlay of overlays) {
    const namespaces = of(rendered(context, overlay), 'Namespace');
    expect(namespaces.length, overlay).toBeGreaterThan(0);
    for (const { metadata } of namespaces) {
      expect(metadata.labels?.['pod-security.kubernetes.io/enforce'], overlay).toBe('restricted');
    }
  }
});

test('nothing shares a namespace or a folder of its node', (context) => {
  everyWorkload(context, ({ spec: { template } }, at) => {
    const { hostNetwork, hostPID, hostIPC, volumes = [] } = template.spec;
    expect([hostNetwork, hostPID, hostIPC], at).toEqual([undefined, undefined, undefined]);
    expect(
      volumes.filter((volume) => 'hostPath' in volume),
      at,
    ).toEqual([]);
  });
});

test('every container says what it needs and what it may take', (context) => {
  everyWorkload(context, (workload, at) => {
    const amount = expect.any(String) as string;
    for (const { resources } of containersOf(workload)) {
      expect(resources, at).toEqual({
        requests: { cpu: amount, memory: amount },
        limits: { cpu: amount, memory: amount },
      });
    }
  });
});

test('every image has a version', (context) => {
  everyWorkload(context, (workload, at) => {
    for (const { image } of containersOf(workload)) expect(image, at).toMatch(/^[a-z0-9./-]+:(?!latest$)[\w.-]+$/);
  });
});

test('everything that stays up has probes of start, life and readiness', (context) => {
  everyWorkload(context, ({ kind, spec }, at) => {
    if (kind === 'Job') return;
    for (const { startupProbe, livenessProbe, readinessProbe, ports = [] } of spec.template.spec.containers) {
      for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
        expect(probe, at).toBeDefined();
        const { httpGet } = probe as { httpGet?: { port: string } };
        if (httpGet) expect(ports.map(({ name }) => name)).toContain(httpGet.port);
      }
    }
  });
});

test('the product’s pods are spread over zones and nodes', (context) => {
  for (const overlay of ['dev', 'production', 'production-hpa'] as const) {
    for (const name of services) {
      const { topologySpreadConstraints = [] } =
        named(rendered(context, overlay), 'Deployment', name)?.spec.template.spec ?? {};
      expect(
        topologySpreadConstraints.map(({ topologyKey }) => topologyKey),
        name,
      ).toEqual(['topology.kubernetes.io/zone', 'kubernetes.io/hostname']);
    }
  }
});

test('a pod may drain for longer than its worker takes, and the API waits until nobody sends to it', (context) => {
  for (const name of services) {
    const pod = named(rendered(context, 'production'), 'Deployment', name)?.spec.template.spec;
    const preStop = pod?.containers[0]?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    expect((pod?.terminationGracePeriodSeconds ?? 0) - preStop, name).toBeGreaterThanOrEqual(
      workerDrainMs / 1_000 + 10,
    );
    if (name === 'flux-api') expect(preStop).toBeGreaterThanOrEqual(5);
  }
});

test('every workload has an account of its own that carries no token; the log collector’s may read logs and nothing else', (context) => {
  everyWorkload(context, ({ metadata, spec }, at) => {
    const { serviceAccountName, automountServiceAccountToken } = spec.template.spec;
    expect(serviceAccountName, at).toBe(metadata.name);
    expect(automountServiceAccountToken, at).toBe(metadata.name === 'log-collector');
  });
  for (const overlay of overlays) {
    const manifests = rendered(context, overlay);
    expect(of(manifests, 'ClusterRole', 'ClusterRoleBinding'), overlay).toEqual([]);
    for (const role of of(manifests, 'Role')) {
      expect(role.metadata.name).toBe('log-collector');
      expect((role as unknown as { rules: unknown }).rules).toEqual([
        { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
        { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
      ]);
    }
    for (const account of of(manifests, 'ServiceAccount')) {
      expect((account as unknown as { automountServiceAccountToken: boolean }).automountServiceAccountToken).toBe(
        false,
      );
    }
  }
});

/** Of each workload, the Secrets that it is given, by what they hold. */
const secretsOf = (workload: Manifest): string[] => [
  ...new Set(
    containersOf(workload)
      .flatMap(({ env = [] }) => env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []))
      .map(({ name, key }) => `${name}/${key}`),
  ),
];

test('each process is given the secrets of its own work: the API neither signs the log nor is the database’s admin', (context) => {
  const manifests = rendered(context, 'production');
  const keys = ['flux-keys/context-key', 'flux-keys/data-key'];
  const given = Object.fromEntries(
    of(manifests, ...workloadKinds).map((it) => [it.metadata.name, secretsOf(it).sort()]),
  );
  expect(given).toEqual({
    'flux-api': ['flux-api/url', 'flux-audit/public-key', ...keys],
    'flux-worker': [...keys, 'flux-worker/url'],
    'flux-sealer': [...keys, 'flux-sealer/audit-key', 'flux-sealer/url'],
    'flux-migrate': [...keys, 'flux-migrate/url'],
  });
});

test('no manifest holds a secret: each is a reference, and production says where each comes from', (context) => {
  for (const overlay of overlays) {
    const manifests = rendered(context, overlay);
    expect(of(manifests, 'Secret'), overlay).toEqual([]);
    for (const workload of of(manifests, ...workloadKinds)) {
      for (const { env = [], envFrom = [] } of containersOf(workload)) {
        const literal = env.filter(
          ({ name, value }) => value !== undefined && /KEY|PASSWORD|TOKEN|SECRET|URL/.test(name),
        );
        expect(literal, workload.metadata.name).toEqual([]);
        expect(envFrom.filter((from) => !from.configMapRef)).toEqual([]);
      }
    }
    for (const { data = {}, metadata } of of(manifests, 'ConfigMap')) {
      const text = JSON.stringify(data);
      expect(text, metadata.name).not.toMatch(
        /[0-9a-f]{64}|-----BEGIN|:\/\/[^\s/:@"]+:[^\s/@"]+@|"FLUX_\w*(_KEY|URL)"/,
      );
    }
  }
  const manifests = rendered(context, 'production');
  const offered = of(manifests, 'ExternalSecret').flatMap(({ metadata, spec }) =>
    (spec['data'] as { secretKey: string }[]).map(({ secretKey }) => `${metadata.name}/${secretKey}`),
  );
  expect(offered).toEqual(expect.arrayContaining(of(manifests, ...workloadKinds).flatMap(secretsOf)));
});

test('in production the database is asked by TLS that checks its name: its authority’s certificate is there, without the key', (context) => {
  for (const workload of of(rendered(context, 'production'), ...workloadKinds)) {
    const at = workload.metadata.name;
    expect(workload.spec.template.spec.volumes, at).toContainEqual({
      name: 'database-ca',
      secret: { secretName: 'flux-db-ca', items: [{ key: 'ca.crt', path: 'ca.crt' }] },
    });
    expect(workload.spec.template.spec.containers[0]?.volumeMounts, at).toContainEqual({
      name: 'database-ca',
      mountPath: '/etc/flux/database-ca',
      readOnly: true,
    });
  }
  const settings = (overlay: Overlay): Record<string, string> =>
    named(rendered(context, overlay), 'ConfigMap', 'flux')?.data ?? {};
  expect(settings('production')).not.toHaveProperty('FLUX_PLAIN_DATABASE');
  expect(settings('dev')).toMatchObject({ FLUX_PLAIN_DATABASE: 'allow', NODE_ENV: 'production' });
});

test('the API has three to ten processes by its load, and no number that an autoscaler would be overruled by', (context) => {
  const manifests = rendered(context, 'production');
  expect(named(manifests, 'HorizontalPodAutoscaler', 'flux-api')?.spec).toMatchObject({
    scaleTargetRef: { kind: 'Deployment', name: 'flux-api' },
    minReplicas: 3,
    maxReplicas: 10,
  });
  for (const name of ['flux-api', 'flux-worker']) {
    expect(named(manifests, 'Deployment', name)?.spec, name).not.toHaveProperty('replicas');
  }
});

test('workers go from none to many and back to none with the queue; without KEDA from one', (context) => {
  const manifests = rendered(context, 'production');
  expect(named(manifests, 'ScaledObject', 'flux-worker')?.spec).toMatchObject({
    scaleTargetRef: { name: 'flux-worker' },
    minReplicaCount: 0,
    maxReplicaCount: 20,
    triggers: [{ type: 'postgresql', metadata: { activationTargetQueryValue: '0', targetQueryValue: '1' } }],
  });
  expect(named(manifests, 'HorizontalPodAutoscaler', 'flux-worker')).toBeUndefined();
  const plain = rendered(context, 'production-hpa');
  expect(of(plain, 'ScaledObject', 'TriggerAuthentication')).toEqual([]);
  expect(named(plain, 'HorizontalPodAutoscaler', 'flux-worker')?.spec).toMatchObject({
    minReplicas: 1,
    maxReplicas: 20,
    metrics: expect.arrayContaining([
      expect.objectContaining({ external: expect.objectContaining({ metric: { name: 'flux_queue_depth' } }) }),
    ]) as unknown[],
  });
});

test('one of each at most is away by a disruption that was planned', (context) => {
  const manifests = rendered(context, 'production');
  for (const name of services) {
    const budget = named(manifests, 'PodDisruptionBudget', name)?.spec;
    const selector = named(manifests, 'Deployment', name)?.spec['selector'];
    expect(budget, name).toEqual({ maxUnavailable: 1, selector });
  }
});

test('a migration is one Job that may be repeated and that alone is the database’s admin', (context) => {
  const [job, ...others] = of(rendered(context, 'production'), 'Job');
  expect(others).toEqual([]);
  expect(job?.spec).toMatchObject({ backoffLimit: 6, activeDeadlineSeconds: 900, ttlSecondsAfterFinished: 3_600 });
  expect(job && containersOf(job)[0]).toMatchObject({ args: ['migrate'] });
  expect(job && secretsOf(job)).toContain('flux-migrate/url');
});

test('production’s database is three instances, each commit on two, with backups of 30 days to any minute', (context) => {
  const manifests = rendered(context, 'production');
  const plugin = 'barman-cloud.cloudnative-pg.io';
  expect(named(manifests, 'Cluster', 'flux-db')?.spec).toMatchObject({
    instances: 3,
    affinity: { podAntiAffinityType: 'required', topologyKey: 'kubernetes.io/hostname' },
    postgresql: {
      synchronous: { method: 'any', number: 1, dataDurability: 'required' },
      parameters: { archive_timeout: '60s' },
    },
    plugins: [{ name: plugin, isWALArchiver: true, parameters: { barmanObjectName: 'flux-backups' } }],
  });
  expect(named(manifests, 'ObjectStore', 'flux-backups')?.spec).toMatchObject({
    retentionPolicy: '30d',
    configuration: { wal: { encryption: 'AES256' }, data: { encryption: 'AES256' } },
  });
  expect(named(manifests, 'ScheduledBackup', 'flux-db')?.spec).toMatchObject({
    cluster: { name: 'flux-db' },
    method: 'plugin',
    pluginConfiguration: { name: plugin },
  });
  const dev = rendered(context, 'dev');
  expect(of(dev, 'Cluster')).toEqual([]);
  expect(named(dev, 'StatefulSet', 'flux-db')?.spec).toMatchObject({ replicas: 1, serviceName: 'flux-db-rw' });
});

test('the world comes in by TLS alone, at a rate, and streams are not buffered', (context) => {
  const [ingress, ...others] = of(rendered(context, 'production'), 'Ingress');
  expect(others).toEqual([]);
  const { rules, tls } = ingress?.spec as unknown as { rules: { host: string }[]; tls: { hosts: string[] }[] };
  expect(tls.flatMap(({ hosts }) => hosts)).toEqual(rules.map(({ host }) => host));
  expect(ingress?.metadata.annotations).toMatchObject({
    'nginx.ingress.kubernetes.io/limit-rps': '50',
    'nginx.ingress.kubernetes.io/limit-connections': '100',
    'nginx.ingress.kubernetes.io/force-ssl-redirect': 'true',
    'nginx.ingress.kubernetes.io/proxy-buffering': 'off',
    'nginx.ingress.kubernetes.io/proxy-read-timeout': '3600',
  });
});

test('every Service leads to a port of a pod that exists', (context) => {
  for (const overlay of overlays) {
    const manifests = rendered(context, overlay);
    const workloads = of(manifests, ...workloadKinds);
    for (const { metadata, spec } of of(manifests, 'Service')) {
      const selector = Object.entries(spec['selector'] as Record<string, string>);
      if (selector.some(([label]) => label === 'cnpg.io/cluster')) continue;
      const target = workloads.find(
        (it) =>
          it.metadata.namespace === metadata.namespace &&
          selector.every(([label, value]) => it.spec.template.metadata.labels[label] === value),
      );
      const ports = target ? containersOf(target).flatMap(({ ports: open = [] }) => open) : [];
      for (const { port, targetPort = port } of spec['ports'] as { port: number; targetPort?: number | string }[]) {
        const found = ports.some(({ name, containerPort }) => name === targetPort || containerPort === targetPort);
        expect(found, `${overlay} ${metadata.name} ${String(targetPort)}`).toBe(true);
      }
    }
  }
});

test('what watches is there when it is asked for, and not otherwise', (context) => {
  const names = (overlay: Overlay): string[] =>
    of(rendered(context, overlay), ...workloadKinds)
      .filter(({ metadata }) => metadata.namespace === 'monitoring')
      .map(({ metadata }) => metadata.name)
      .sort();
  const all = ['grafana', 'jaeger', 'log-collector', 'loki', 'prometheus'];
  expect(names('production')).toEqual([]);
  expect(names('observability')).toEqual(all);
  expect(names('production-observed')).toEqual(all);
  expect(named(rendered(context, 'production-observed'), 'ConfigMap', 'flux')?.data).toMatchObject({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://jaeger.monitoring.svc:4318',
  });
});

test('with a bucket no pod shares a volume for objects, and its keys come from a secret', (context) => {
  const manifests = rendered(context, 'production-bucket');
  expect(named(manifests, 'PersistentVolumeClaim', 'flux-objects')).toBeUndefined();
  expect(named(manifests, 'ConfigMap', 'flux')?.data?.['FLUX_OBJECT_STORE']).toMatch(/^s3:/);
  for (const service of ['flux-api', 'flux-worker']) {
    const pod = named(manifests, 'Deployment', service)?.spec.template.spec;
    expect(
      pod?.volumes?.map(({ name }) => name),
      service,
    ).not.toContain('objects');
    const [container] = pod?.containers ?? [];
    expect(
      container?.volumeMounts?.map(({ mountPath }) => mountPath),
      service,
    ).not.toContain('/objects');
    for (const name of ['FLUX_OBJECT_STORE_KEY_ID', 'FLUX_OBJECT_STORE_KEY'])
      expect(container?.env?.find((it) => it.name === name)?.valueFrom?.secretKeyRef?.name, service).toBe(
        'flux-objects',
      );
  }
});
