import path from 'node:path';

import type { Command } from 'commander';

import { everyPage, type Flux } from '#sdk';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { successOf } from '../client.ts';
import { print, printJson, printTable } from '../output.ts';
import { readDocument } from '../read-document.ts';

interface Registered {
  __typename: string;
  id: string;
  name: string;
  version?: number | string;
  comparison?: Comparison | null;
}

/** A version of a contract held against the one before. */
interface Comparison {
  previousVersion: number;
  compatible: boolean;
  changes: readonly { path: string; keyword: string; kind: string; breaking: boolean; message: string }[];
}

/** Registers a document; its refusal is thrown. */
type Register = (api: Flux['api'], definition: unknown, file: string, options: RegisterOptions) => Promise<Registered>;

interface RegisterOptions extends ApiOptions {
  name?: string;
  reason?: string;
}

export function addDefinitions(program: Command): void {
  const pipelines = program.command('pipelines').description('Pipeline definitions of an agency.');
  addRegister(
    pipelines,
    'Register a pipeline: each registration is a new, immutable version.',
    async (api, definition, _file, { reason }) =>
      successOf(await api.registerPipeline({ definition, reason: reason ?? null })),
  );
  addListPipelines(pipelines);
  const contracts = program.command('contracts').description('Contracts (JSON Schema) of an agency.');
  addRegister(
    contracts,
    'Register a contract under the file’s name, or --name.',
    async (api, document, file, { name, reason }) =>
      successOf(
        await api.registerContract({
          document,
          name: name ?? path.basename(file).replace(/(\.schema)?\.json$/, ''),
          reason: reason ?? null,
        }),
      ),
  ).option('--name <name>', 'the contract’s name; the file’s without .json otherwise');
  const connections = program.command('connections').description('Connections of an agency to its sources.');
  addRegister(
    connections,
    'Register a connection, or change the one of that name.',
    async (api, definition, _file, { reason }) =>
      successOf(await api.registerConnection({ definition, reason: reason ?? null })),
  );
}

function addRegister(parent: Command, description: string, register: Register): Command {
  return withApiOptions(parent.command('register'))
    .description(description)
    .argument('<file>', 'the JSON document, or - for standard input')
    .option('--reason <text>', 'why, for the audit log')
    .action(async (file: string, options: RegisterOptions) => {
      const definition = await readDocument(file);
      await withApi(options, async ({ flux }) => {
        const registered = await register(flux.api, definition, file, options);
        const { __typename, name, version } = registered;
        if (options.json) printJson(registered);
        // A connection has no versions to choose from; its number only rises.
        else if (__typename === 'SourceConnection') print(`Registered ${name}.`);
        else print(`Registered ${name}, version ${String(version)}.`);
        if (!options.json && registered.comparison) printComparison(registered.comparison);
      });
    });
}

function printComparison({ previousVersion, compatible, changes }: Comparison): void {
  const before = `version ${String(previousVersion)}`;
  if (changes.length === 0) return print(`It says the same as ${before}.`);
  print(compatible ? `It is compatible with ${before}.` : `It is not compatible with ${before}: see what breaks.`);
  printTable(
    ['change', 'keyword', 'path', 'breaks', 'what'],
    changes.map(({ path, keyword, kind, breaking, message }) => [
      kind.toLowerCase(),
      keyword,
      path === '' ? '(record)' : path,
      breaking ? 'yes' : 'no',
      message,
    ]),
  );
}

function addListPipelines(parent: Command): void {
  withApiOptions(parent.command('list'))
    .description('List the current version of each pipeline.')
    .action((options: ApiOptions) =>
      withApi(options, async ({ flux }) => {
        const all = [];
        for await (const one of everyPage((after) => flux.api.pipelines({ first: 100, after }))) all.push(one);
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
