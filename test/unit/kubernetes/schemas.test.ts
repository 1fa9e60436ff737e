/**
 * Every rendered manifest against the schemas of what it is: Kubernetes, KEDA and External Secrets from their packages,
 * CloudNativePG from its own definitions. A literal of the package's type tells of a misspelled field, which an API server would drop.
 */
import path from 'node:path';

import ts from 'typescript';
import { expect, test } from 'vitest';

import { crdMisfits } from '../../support/crd-schemas.ts';
import { checkout, type Manifest, overlays, rendered } from '../../support/kustomize.ts';

/** Where the model of a manifest is: its TypeScript interface, and but for CloudNativePG a class that validates. */
function moduleOf({ apiVersion, kind }: Pick<Manifest, 'apiVersion' | 'kind'>): { types: string; model?: string } {
  if (apiVersion.includes('cnpg.io/')) return { types: './test/support/cloudnativepg.ts' };
  const [group = ''] = apiVersion.split('/');
  const home =
    group === 'keda.sh'
      ? '@kubernetes-models/keda'
      : group === 'external-secrets.io'
        ? '@kubernetes-models/external-secrets'
        : 'kubernetes-models';
  const model = `${home}/${apiVersion}/${kind}`;
  return { types: model, model };
}

/** What the compiler says of manifests written as literals of their types. */
function misfits(manifests: readonly object[]): string[] {
  const file = path.join(checkout, 'manifests.virtual.ts');
  const text = (manifests as Manifest[])
    .map(
      (manifest, i) =>
        `{ const it: import('${moduleOf(manifest).types}').I${manifest.kind} = ${JSON.stringify(manifest)}; void it; void ${String(i)}; }`,
    )
    .join('\n');
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2024,
    module: ts.ModuleKind.NodeNext,
    moduleDetection: ts.ModuleDetectionKind.Force,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.readFile = (name) => (name === file ? text : readFile(name));
  host.getSourceFile = (name, version, ...rest) =>
    name === file ? ts.createSourceFile(name, text, version) : getSourceFile(name, version, ...rest);
  const program = ts.createProgram([file], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText, file: at, start = 0 }) => {
    const line = at?.fileName === file ? at.getLineAndCharacterOfPosition(start).line : undefined;
    const of = line === undefined ? undefined : (manifests[line] as Manifest | undefined);
    return `${of ? `${of.kind} ${of.metadata.name}: ` : ''}${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

test('every field of every manifest is one that its type has, and others are told', { timeout: 120_000 }, (context) => {
  const all = overlays.flatMap((overlay) => rendered(context, overlay));
  const distinct = [...new Map(all.map((manifest) => [JSON.stringify(manifest), manifest])).values()];
  const changed = (kind: string, change: (spec: Record<string, unknown>) => void): object => {
    const copy = structuredClone(all.find((it) => it.kind === kind)) as unknown as { spec: Record<string, unknown> };
    change(copy.spec);
    return copy;
  };
  const broken = [
    changed('Deployment', (spec) => (spec['replica'] = 3)),
    changed('PodDisruptionBudget', (spec) => (spec['selector'] = 'api')),
    changed('ScaledObject', (spec) => delete spec['scaleTargetRef']),
    changed('ExternalSecret', (spec) => (spec['secretStore'] = {})),
    changed('Cluster', (spec) => (spec['backups'] = {})),
  ];
  expect(misfits([...distinct, ...broken])).toEqual([
    expect.stringMatching(/^Deployment .*'"replica"' does not exist/),
    expect.stringMatching(/^PodDisruptionBudget .*Type 'string'/),
    expect.stringMatching(/^ScaledObject .*"scaleTargetRef"' is missing/),
    expect.stringMatching(/^ExternalSecret .*'"secretStore"' does not exist/),
    expect.stringMatching(/^Cluster .*'"backups"' does not exist/),
  ]);
});

test.for(overlays)('the values of %s are valid for their schemas', { timeout: 60_000 }, async (overlay, context) => {
  for (const manifest of rendered(context, overlay)) {
    const { model } = moduleOf(manifest);
    if (model === undefined) {
      expect(crdMisfits(manifest), `${manifest.kind} ${manifest.metadata.name}`).toEqual([]);
      continue;
    }
    const loaded = (await import(/* @vite-ignore */ model)) as Record<
      string,
      new (data: Manifest) => { validate(): void }
    >;
    const Model = loaded[manifest.kind];
    expect(Model, `${manifest.apiVersion} ${manifest.kind}`).toBeDefined();
    expect(() => Model && new Model(manifest).validate(), `${manifest.kind} ${manifest.metadata.name}`).not.toThrow();
  }
});

test('the schemas of CloudNativePG tell of a wrong value, a field that is missing and one that is not theirs', (context) => {
  const broken = (kind: string, change: (spec: Record<string, unknown>) => void): string[] => {
    const found = overlays.flatMap((overlay) => rendered(context, overlay)).find((it) => it.kind === kind);
    const copy = structuredClone(found) as unknown as { kind: string; spec: Record<string, unknown> };
    change(copy.spec);
    return crdMisfits(copy);
  };
  expect(broken('Cluster', (spec) => (spec['instances'] = 0))).toEqual([
    expect.stringMatching(/^\/spec\/instances must be >= 1/),
  ]);
  expect(broken('Cluster', (spec) => (spec['primaryUpdateStrategy'] = 'soon'))).toEqual([
    expect.stringMatching(/^\/spec\/primaryUpdateStrategy must be equal to one of/),
  ]);
  expect(broken('Cluster', (spec) => (spec['backups'] = {}))).toEqual([
    expect.stringMatching(/^\/spec must NOT have additional.*backups/),
  ]);
  expect(broken('ScheduledBackup', (spec) => delete spec['schedule'])).toEqual([
    expect.stringMatching(/^\/spec must have required.*schedule/),
  ]);
  expect(broken('ObjectStore', (spec) => (spec['retentionPolicy'] = 'a month'))).toEqual([
    expect.stringMatching(/^\/spec\/retentionPolicy must match pattern/),
  ]);
});
