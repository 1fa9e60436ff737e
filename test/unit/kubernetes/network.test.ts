/** Who may speak to whom, read from the rendered policies as a network plug-in would, and compared with what the design needs. */
import { expect, test, vi } from 'vitest';

import { type Manifest, type Overlay, overlays, rendered } from '../../support/kustomize.ts';

// Six overlays are rendered first.
vi.setConfig({ testTimeout: 120_000 });

interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values: string[] }[];
}
interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}
interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: { port: number; protocol?: string }[];
}
interface Policy {
  podSelector: Selector;
  policyTypes: string[];
  ingress?: Rule[];
  egress?: Rule[];
}

const component = 'app.kubernetes.io/component';
const privateRanges = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'];

/** Short names of what a selector takes; `*` is every pod. */
function podsOf({ matchLabels = {}, matchExpressions = [] }: Selector): string[] {
  if (matchExpressions.length > 0) return matchExpressions.flatMap(({ values }) => values);
  const { [component]: own, 'flux.example.gov/database': database, ...rest } = matchLabels;
  if (own !== undefined) return [own];
  if (database !== undefined) return ['database'];
  return [rest['app.kubernetes.io/name'] ?? rest['k8s-app'] ?? '*'];
}

function peersOf({ podSelector, namespaceSelector, ipBlock }: Peer): string[] {
  if (ipBlock) {
    expect(ipBlock).toEqual({ cidr: '0.0.0.0/0', except: privateRanges });
    return ['public'];
  }
  const namespace = namespaceSelector?.matchLabels?.['kubernetes.io/metadata.name'];
  const pods = podSelector ? podsOf(podSelector) : ['*'];
  return namespace === undefined ? pods : pods.map((pod) => (pod === '*' ? `${namespace}` : `${namespace}/${pod}`));
}

/** `namespace: pod -> peer:port` for each path that is open, by direction. */
function pathsOf(manifests: readonly Manifest[]): { out: string[]; in: string[] } {
  const found = { out: new Set<string>(), in: new Set<string>() };
  const everyone = [undefined];
  for (const { metadata, spec } of manifests.filter(({ kind }) => kind === 'NetworkPolicy')) {
    const policy = spec as unknown as Policy;
    for (const pod of podsOf(policy.podSelector)) {
      for (const [rules, side] of [
        [policy.egress ?? [], 'out'],
        [policy.ingress ?? [], 'in'],
      ] as const) {
        for (const { from, to, ports = [] } of rules) {
          for (const peer of (from ?? to ?? everyone).flatMap((it) => (it ? peersOf(it) : ['anywhere']))) {
            for (const { port } of ports) {
              const ends = side === 'out' ? `${pod} -> ${peer}` : `${peer} -> ${pod}`;
              found[side].add(`${metadata.namespace ?? ''}: ${ends}:${String(port)}`);
            }
          }
        }
      }
    }
  }
  return { out: [...found.out].sort(), in: [...found.in].sort() };
}

const expectedFlux = {
  out: [
    'flux: * -> kube-system/kube-dns:53',
    'flux: api -> database:5432',
    'flux: api -> public:443',
    'flux: migrate -> database:5432',
    'flux: sealer -> database:5432',
    'flux: worker -> database:5432',
    'flux: worker -> public:443',
  ],
  in: [
    'flux: api -> database:5432',
    'flux: ingress-nginx -> api:4000',
    'flux: migrate -> database:5432',
    'flux: monitoring -> api:9464',
    'flux: monitoring -> sealer:9464',
    'flux: monitoring -> worker:9464',
    'flux: sealer -> database:5432',
    'flux: worker -> database:5432',
  ],
};
/** Replication, the operator, its store of backups and the Kubernetes API; the operator's port of metrics. */
const expectedCluster = {
  out: [
    'flux: database -> anywhere:443',
    'flux: database -> anywhere:6443',
    'flux: database -> database:5432',
    'flux: database -> database:8000',
  ],
  in: [
    'flux: cnpg-system -> database:5432',
    'flux: cnpg-system -> database:8000',
    'flux: database -> database:5432',
    'flux: database -> database:8000',
    'flux: monitoring -> database:9187',
  ],
};
const expectedMonitoring = {
  out: [
    'monitoring: * -> kube-system/kube-dns:53',
    'monitoring: grafana -> jaeger:16686',
    'monitoring: grafana -> loki:3100',
    'monitoring: grafana -> prometheus:9090',
    'monitoring: log-collector -> anywhere:443',
    'monitoring: log-collector -> anywhere:6443',
    'monitoring: log-collector -> loki:3100',
    'monitoring: prometheus -> flux:9187',
    'monitoring: prometheus -> flux:9464',
  ],
  in: [
    'monitoring: flux -> jaeger:4318',
    'monitoring: grafana -> jaeger:16686',
    'monitoring: grafana -> loki:3100',
    'monitoring: grafana -> prometheus:9090',
    'monitoring: ingress-nginx -> grafana:3000',
    'monitoring: log-collector -> loki:3100',
  ],
};
const traces = ['api', 'sealer', 'worker'].map((pod) => `flux: ${pod} -> monitoring/jaeger:4318`);
const join = (...parts: { out: string[]; in: string[] }[]): { out: string[]; in: string[] } => ({
  out: parts.flatMap((part) => part.out).sort(),
  in: parts.flatMap((part) => part.in).sort(),
});
const keda = { out: [], in: ['flux: keda -> database:5432'] };

const expected: Record<Overlay, { out: string[]; in: string[] }> = {
  dev: expectedFlux,
  production: join(expectedFlux, expectedCluster, keda),
  'production-bucket': join(expectedFlux, expectedCluster, keda),
  'production-hpa': join(expectedFlux, expectedCluster),
  observability: expectedMonitoring,
  'production-observed': join(expectedFlux, expectedCluster, keda, expectedMonitoring, { out: traces, in: [] }),
};

test.for(overlays)('%s opens the paths that the design needs and no other', (overlay, context) => {
  expect(pathsOf(rendered(context, overlay))).toEqual(expected[overlay]);
});

test.for(overlays)(
  'in %s all traffic of every namespace with pods is denied unless a policy allows it',
  (overlay, context) => {
    const manifests = rendered(context, overlay);
    const namespaces = new Set(
      manifests
        .filter(({ kind }) => /^(Deployment|StatefulSet|Job|Cluster)$/.test(kind))
        .map((it) => it.metadata.namespace),
    );
    for (const namespace of namespaces) {
      const denials = manifests.filter(
        ({ kind, metadata }) =>
          kind === 'NetworkPolicy' && metadata.name === 'default-deny' && metadata.namespace === namespace,
      );
      expect(
        denials.map(({ spec }) => spec),
        namespace,
      ).toEqual([{ podSelector: {}, policyTypes: ['Ingress', 'Egress'] }]);
    }
  },
);

test('a policy that names rules of a direction also closes it', (context) => {
  for (const overlay of overlays) {
    for (const { metadata, spec } of rendered(context, overlay).filter(({ kind }) => kind === 'NetworkPolicy')) {
      const { ingress, egress, policyTypes } = spec as unknown as Policy;
      if (ingress) expect(policyTypes, metadata.name).toContain('Ingress');
      if (egress) expect(policyTypes, metadata.name).toContain('Egress');
    }
  }
});
