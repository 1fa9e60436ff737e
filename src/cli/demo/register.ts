import { sha256Hex } from '../../crypto/hash.ts';
import { type ApiClient, successOf } from '../client.ts';
import type { AgencySamples } from './samples.ts';

type Result = Record<string, { __typename: string }>;

const problem = /* GraphQL */ `
  __typename
  ... on Error { code message }
  ... on ValidationError { issues { path rule message } candidates }
`;

const documents = {
  connection: `mutation ($definition: JSON!, $key: String!) {
    result: registerConnection(input: { definition: $definition, idempotencyKey: $key }) { ${problem} }
  }`,
  contract: `mutation ($name: String!, $document: JSON!, $key: String!) {
    result: registerContract(input: { name: $name, document: $document, idempotencyKey: $key }) { ${problem} }
  }`,
  pipeline: `mutation ($definition: JSON!, $key: String!) {
    result: registerPipeline(input: { definition: $definition, idempotencyKey: $key }) { ${problem} }
  }`,
  run: `mutation ($pipeline: String!, $reason: String!) {
    result: startRun(input: { pipeline: $pipeline, reason: $reason }) { ${problem} ... on Run { id } }
  }`,
};

/** Registers an agency's samples through the API. The keys make a second demo on the same database find the first versions. */
export async function registerSamples(admin: ApiClient, samples: AgencySamples): Promise<void> {
  for (const { document } of samples.connections) {
    await mutate(admin, documents.connection, { definition: document, key: keyOf('connection', document) });
  }
  for (const { name, document } of samples.contracts) {
    await mutate(admin, documents.contract, { name, document, key: keyOf(`contract ${name}`, document) });
  }
  for (const { document } of samples.pipelines) {
    await mutate(admin, documents.pipeline, { definition: document, key: keyOf('pipeline', document) });
  }
}

/** @returns the run's id */
export async function startRun(operator: ApiClient, pipeline: string): Promise<string> {
  const run = await mutate(operator, documents.run, { pipeline, reason: 'demo' });
  return (run as unknown as { id: string }).id;
}

async function mutate(
  api: ApiClient,
  document: string,
  variables: Record<string, unknown>,
): Promise<{ __typename: string }> {
  const { result } = await api.request<Result>(document, variables);
  return successOf(result as { __typename: string });
}

function keyOf(kind: string, document: unknown): string {
  return `demo-${sha256Hex(kind, JSON.stringify(document)).slice(0, 32)}`;
}
