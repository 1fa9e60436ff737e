/**
 * The schemas of the custom resources that no npm package holds, as their projects publish them, in test/support/crds without descriptions and
 * status: CloudNativePG 1.26.0 (Cluster, ScheduledBackup) and its Barman Cloud plugin 0.15.0 (ObjectStore), config/crd/bases, Apache-2.0.
 */
import { readFileSync } from 'node:fs';

import { Ajv, type AnySchema } from 'ajv';

type Schema = Record<string, unknown>;

/** Where the file of a kind is, if there is one. */
const files: Readonly<Record<string, string>> = {
  Cluster: 'cluster',
  ScheduledBackup: 'scheduledbackup',
  ObjectStore: 'objectstore',
};

const ajv = new Ajv({ strict: false, allErrors: true, formats: { int32: true, int64: true, 'date-time': true } });

/** What the API server would refuse of a custom resource, and what it would silently drop. @returns sentences */
export function crdMisfits(manifest: { kind: string }): string[] {
  const file = files[manifest.kind];
  if (file === undefined) throw new Error(`no schema of ${manifest.kind} is here`);
  const schema = JSON.parse(readFileSync(new URL(`crds/${file}.json`, import.meta.url), 'utf8')) as Schema;
  const validate = ajv.compile(closed(schema) as AnySchema);
  void validate(manifest);
  return (validate.errors ?? []).map(
    ({ instancePath, message = '', params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}

/** Refuses fields that a schema does not name: the server drops them without a word. `metadata` is the server's own affair. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const all = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, key === 'enum' ? value : closed(value)]),
  );
  const isOpen = 'additionalProperties' in all || 'x-kubernetes-preserve-unknown-fields' in all;
  return all['type'] === 'object' && all['properties'] !== undefined && !isOpen
    ? { ...all, additionalProperties: false }
    : all;
}
