import path from 'node:path';

import type { Command } from 'commander';

import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { print, printJson, printTable } from '../output.ts';
import { readDocument } from '../read-document.ts';

/** What the three `register` commands share: a document goes in, the registered thing comes out, or its refusal is thrown. */
const refusals = /* GraphQL */ `
  ... on Error { code message }
  ... on ValidationError { issues { path rule message } candidates }
`;

const registerPipeline = /* GraphQL */ `
  mutation CliRegisterPipeline($input: RegisterPipelineInput!) {
    registered: registerPipeline(input: $input) { __typename ... on Pipeline { id name version sha256 } ${refusals} }
  }
`;
const registerContract = /* GraphQL */ `
  mutation CliRegisterContract($input: RegisterContractInput!) {
    registered: registerContract(input: $input) { __typename ... on Contract { id name version sha256 } ${refusals} }
  }
`;
const registerConnection = /* GraphQL */ `
  mutation CliRegisterConnection($input: RegisterConnectionInput!) {
    registered: registerConnection(input: $input) { __typename ... on SourceConnection { id name kind } ${refusals} }
  }
`;
const listPipelines = /* GraphQL */ `
  query CliPipelines($first: Int, $after: String) {
    pipelines(first: $first, after: $after) {
      edges {
        node {
          id
          name
          version
          title
          contentType
          useCase
          classification
          enabled
          createdAt
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;

interface Registered {
  __typename: string;
  id: string;
  name: string;
  version?: number;
}

interface RegisterOptions extends ApiOptions {
  name?: string;
  reason?: string;
}

interface ListedPipeline {
  id: string;
  name: string;
  version: number;
  title: string;
  contentType: string;
  useCase: string;
  enabled: boolean;
}

interface PipelinePage {
  pipelines: { edges: { node: ListedPipeline }[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } };
}

export function addDefinitions(program: Command): void {
  const pipelines = program.command('pipelines').description('Pipeline definitions of an agency.');
  addRegister(
    pipelines,
    'Register a pipeline: each registration is a new, immutable version.',
    registerPipeline,
    toDefinition,
  );
  addListPipelines(pipelines);
  const contracts = program.command('contracts').description('Contracts (JSON Schema) of an agency.');
  addRegister(
    contracts,
    'Register a contract under the file’s name, or --name.',
    registerContract,
    toNamedDocument,
  ).option('--name <name>', 'the contract’s name; the file’s without .json otherwise');
  const connections = program.command('connections').description('Connections of an agency to its sources.');
  addRegister(connections, 'Register a connection, or change the one of that name.', registerConnection, toDefinition);
}

const toDefinition = (definition: unknown): Record<string, unknown> => ({ definition });
const toNamedDocument = (document: unknown, file: string, { name }: RegisterOptions): Record<string, unknown> => ({
  document,
  name: name ?? path.basename(file).replace(/(\.schema)?\.json$/, ''),
});

function addRegister(
  parent: Command,
  description: string,
  document: string,
  toInput: (definition: unknown, file: string, options: RegisterOptions) => Record<string, unknown>,
): Command {
  return withApiOptions(parent.command('register'))
    .description(description)
    .argument('<file>', 'the JSON document, or - for standard input')
    .option('--reason <text>', 'why, for the audit log')
    .action(async (file: string, options: RegisterOptions) => {
      const definition = await readDocument(file);
      await withApi(options, async (api) => {
        const input = { ...toInput(definition, file, options), reason: options.reason ?? null };
        const { registered } = await api.request<{ registered: Registered }>(document, { input });
        const { name, version } = successOf(registered);
        if (options.json) printJson(registered);
        else print(version === undefined ? `Registered ${name}.` : `Registered ${name}, version ${String(version)}.`);
      });
    });
}

function addListPipelines(parent: Command): void {
  withApiOptions(parent.command('list'))
    .description('List the current version of each pipeline.')
    .action((options: ApiOptions) =>
      withApi(options, async (api) => {
        const all: ListedPipeline[] = [];
        let after: string | null = null;
        do {
          const page: PipelinePage = await api.request<PipelinePage>(listPipelines, { first: 100, after });
          const { pipelines } = page;
          all.push(...pipelines.edges.map(({ node }) => node));
          after = pipelines.pageInfo.hasNextPage ? pipelines.pageInfo.endCursor : null;
        } while (after !== null);
        if (options.json) return printJson(all);
        if (all.length === 0)
          return print('There are no pipelines yet. Register one with flux pipelines register FILE.');
        printTable(
          ['pipeline', 'version', 'content', 'use case', 'title'],
          all.map((p) => [p.name, String(p.version), p.contentType, p.useCase, p.title]),
        );
      }),
    );
}
