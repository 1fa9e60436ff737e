/** The rules that every manifest under k8s/ keeps, one test each, over the sources. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

const folder = path.join(import.meta.dirname, '..', '..', 'k8s');

interface Container {
  securityContext: object;
  resources: { requests: object; limits: object };
  env?: { name: string; value?: string; valueFrom?: { secretKeyRef?: object } }[];
  startupProbe?: object;
  livenessProbe?: object;
  readinessProbe?: object;
}
interface Manifest {
  kind: string;
  metadata: { name: string };
  spec: Record<string, unknown> & {
    template: { spec: Record<string, unknown> & { containers: Container[]; terminationGracePeriodSeconds: number } };
  };
}

const manifests = globSync('**/*.yaml', { cwd: folder }).flatMap((file) =>
  parseAllDocuments(readFileSync(path.join(folder, file), 'utf8')).map((document) => {
    expect('errors' in document ? document.errors : [], file).toEqual([]);
    return document.toJS() as Manifest;
  }),
);
const of = (...kinds: string[]): Manifest[] => manifests.filter(({ kind }) => kinds.includes(kind));
const workloads = of('Deployment', 'StatefulSet', 'Job');
const named = (kind: string, name: string): Manifest | undefined => of(kind).find((it) => it.metadata.name === name);

test.for(workloads)('$kind $metadata.name is not root, cannot gain privileges and writes only to its volumes', (it) => {
  const { spec } = it.spec.template;
  expect(spec).toMatchObject({
    automountServiceAccountToken: false,
    serviceAccountName: it.metadata.name,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  });
  for (const { securityContext, resources } of spec.containers) {
    expect(securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(resources).toMatchObject({
      requests: { memory: expect.any(String) as string },
      limits: { memory: expect.any(String) as string },
    });
  }
});

test('everything that serves a port has its probes, and drains for longer than a worker needs', () => {
  for (const { metadata, spec } of workloads.filter(
    ({ kind, metadata: { name } }) => kind !== 'Job' && name !== 'flux-sealer',
  )) {
    const probes = { startupProbe: expect.anything() as object, livenessProbe: expect.anything() as object };
    expect(spec.template.spec.containers[0], metadata.name).toMatchObject({
      ...probes,
      readinessProbe: expect.anything() as object,
    });
    expect(spec.template.spec.terminationGracePeriodSeconds, metadata.name).toBeGreaterThan(20);
  }
});

test('no manifest holds a secret, and only the sealer is given the key that signs', () => {
  expect(of('Secret', 'Role', 'ClusterRole')).toEqual([]);
  for (const { metadata, spec } of workloads) {
    for (const { name, value } of spec.template.spec.containers.flatMap(({ env = [] }) => env)) {
      if (/KEY|PASSWORD|URL/.test(name)) expect(value, `${metadata.name} ${name}`).toBeUndefined();
      if (name === 'FLUX_AUDIT_KEY') expect(metadata.name).toBe('flux-sealer');
    }
  }
});

test('traffic is denied unless a policy allows it', () => {
  expect(named('NetworkPolicy', 'default-deny')?.spec).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
});

test('the API scales from 3 to 10, workers from none, and the database has three instances with backups', () => {
  expect(named('HorizontalPodAutoscaler', 'flux-api')?.spec).toMatchObject({ minReplicas: 3, maxReplicas: 10 });
  expect(named('ScaledObject', 'flux-worker')?.spec).toMatchObject({ minReplicaCount: 0 });
  expect(named('Cluster', 'flux-db')?.spec).toMatchObject({ instances: 3, backup: { retentionPolicy: '30d' } });
  for (const name of ['api', 'worker', 'sealer']) expect(named('PodDisruptionBudget', `flux-${name}`)).toBeDefined();
  expect(named('Ingress', 'flux-api')?.spec['tls']).toHaveLength(1);
});
