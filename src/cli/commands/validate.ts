import type { Command } from 'commander';

import { validateContract } from '../../contracts/contract.ts';
import {
  validateAgencyManifest,
  validateConnection,
  validatePipelineDefinition,
  validateRunPayload,
} from '../../contracts/documents.ts';
import { FluxError } from '../../errors.ts';
import { print, printJson } from '../output.ts';
import { readDocument } from '../read-document.ts';

const validators: Record<string, (document: unknown) => unknown> = {
  agency: validateAgencyManifest,
  connection: validateConnection,
  contract: validateContract,
  pipeline: validatePipelineDefinition,
  payload: validateRunPayload,
};

export function addValidate(program: Command): void {
  program
    .command('validate')
    .description(
      'Check documents of Flux: agency manifests, connections, contracts, pipelines, run payloads. Registers nothing.',
    )
    .argument('<file...>', 'JSON documents, or - for standard input')
    .option('--kind <kind>', `${Object.keys(validators).join(', ')}; found from the document otherwise`)
    .option('--json', 'print JSON')
    .action(async (files: string[], { kind, json }: { kind?: string; json?: boolean }) => {
      const results: { file: string; kind: string }[] = [];
      for (const file of files) {
        const document = await readDocument(file);
        const found = kind ?? kindOf(document);
        const validate = found === undefined ? undefined : validators[found];
        if (found === undefined || !validate) throw unknownKind(file, found);
        validate(document);
        results.push({ file, kind: found });
        if (!json) print(`${file} is a valid ${found}.`);
      }
      if (json) printJson(results);
    });
}

/** By a member that only this kind has, so that a document with a mistake elsewhere is still checked as what it is. */
function kindOf(document: unknown): string | undefined {
  if (typeof document !== 'object' || document === null) return undefined;
  const has = (name: string): boolean => Object.hasOwn(document, name);
  if (has('destination')) return 'pipeline';
  if (has('slug') || has('abbreviation')) return 'agency';
  if (has('agency') && has('use_case')) return 'payload';
  if (has('kind') && has('config')) return 'connection';
  if (has('$schema') || has('properties') || has('type') || has('$ref')) return 'contract';
  return undefined;
}

function unknownKind(file: string, found: string | undefined): FluxError {
  const known = Object.keys(validators).join(', ');
  return new FluxError(
    'INVALID_INPUT',
    found === undefined
      ? `${file} looks like no document of Flux. Say what it should be with --kind: ${known}.`
      : `--kind should be one of ${known}, and is ${found}.`,
  );
}
