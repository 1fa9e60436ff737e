/** The manifests as a cluster would get them: rendered by Kustomize 5, whichever of its homes is on this machine. */
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';

import type { TestContext } from 'vitest';
import { parseAllDocuments } from 'yaml';

export const checkout = path.join(import.meta.dirname, '..', '..');
export const overlays = [
  'dev',
  'production',
  'production-hpa',
  'production-bucket',
  'observability',
  'production-observed',
] as const;
export type Overlay = (typeof overlays)[number];

export interface Container {
  name: string;
  image: string;
  args?: string[];
  command?: string[];
  ports?: { name: string; containerPort: number }[];
  securityContext?: object;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
  env?: { name: string; value?: string; valueFrom?: { secretKeyRef?: { name: string; key: string } } }[];
  envFrom?: { configMapRef?: { name: string }; secretRef?: { name: string } }[];
  startupProbe?: object;
  livenessProbe?: object;
  readinessProbe?: object;
  lifecycle?: { preStop?: { sleep?: { seconds: number } } };
  volumeMounts?: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[];
}
export interface PodSpec {
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  terminationGracePeriodSeconds?: number;
  securityContext?: object;
  topologySpreadConstraints?: { topologyKey: string }[];
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  initContainers?: Container[];
  containers: Container[];
  volumes?: ({ name: string } & Record<string, unknown>)[];
}
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: Record<string, unknown> & { template: { metadata: { labels: Record<string, string> }; spec: PodSpec } };
  data?: Record<string, string>;
}

/** The command that renders a folder, or why there is none. */
const tool = findKustomize();

/** What the overlay renders to; each is rendered once. Skips the test where no Kustomize 5 is installed. */
export function rendered(context: Pick<TestContext, 'skip'>, overlay: Overlay): Manifest[] {
  if (!tool) {
    context.skip(
      'no Kustomize 5: neither kustomize nor kubectl of 1.27 or newer is here; scripts/install-kustomize.sh',
    );
    throw new Error('not reached');
  }
  const known = cache.get(overlay);
  if (known) return known;
  const [command, ...args] = [...tool, path.join(checkout, 'k8s', 'overlays', overlay)];
  const text = execFileSync(command, args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  const manifests = parseAllDocuments(text).map((document) => {
    for (const problem of 'errors' in document ? document.errors : []) throw problem as Error;
    return document.toJS() as Manifest;
  });
  cache.set(overlay, manifests);
  return manifests;
}
const cache = new Map<Overlay, Manifest[]>();

function findKustomize(): [string, ...string[]] | undefined {
  const installed = path.join(checkout, 'node_modules', '.cache', 'flux', 'kustomize');
  for (const command of ['kustomize', installed]) {
    if (/v5\./.test(spawnSync(command, ['version'], { encoding: 'utf8' }).stdout ?? '')) return [command, 'build'];
  }
  const { stdout } = spawnSync('kubectl', ['version', '--client'], { encoding: 'utf8' });
  return /Kustomize Version: v5\./.test(stdout ?? '') ? ['kubectl', 'kustomize'] : undefined;
}
