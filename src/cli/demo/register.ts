import { sha256Hex } from '../../crypto/hash.ts';
import { type ApiClient, successOf } from '../client.ts';
import type { AgencySamples } from './samples.ts';

/** Registers an agency's samples through the API. The keys make a second demo on the same database find the first versions. */
export async function registerSamples(admin: ApiClient, samples: AgencySamples): Promise<void> {
  const { api } = admin.flux;
  for (const { document: definition } of samples.connections) {
    successOf(await api.registerConnection({ definition, idempotencyKey: keyOf('connection', definition) }));
  }
  for (const { name, document } of samples.contracts) {
    successOf(await api.registerContract({ name, document, idempotencyKey: keyOf(`contract ${name}`, document) }));
  }
  for (const { document: definition } of samples.pipelines) {
    successOf(await api.registerPipeline({ definition, idempotencyKey: keyOf('pipeline', definition) }));
  }
}

/** @returns the run's id */
export async function startRun(operator: ApiClient, pipeline: string): Promise<string> {
  return successOf(await operator.flux.api.startRun({ pipeline, reason: 'demo' })).id;
}

function keyOf(kind: string, document: unknown): string {
  return `demo-${sha256Hex(kind, JSON.stringify(document)).slice(0, 32)}`;
}
