/**
 * The public documents of Flux (schemas/v1), checked. Each validator takes parsed JSON of unknown shape and returns a new,
 * typed value with every default written out, so that what is stored says all of it and a later default changes nothing
 * that is registered. The argument is never changed. Contracts themselves: contract.ts.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import agencyManifestSchema from '../../schemas/v1/agency-manifest.schema.json' with { type: 'json' };
import connectionSchema from '../../schemas/v1/connection.schema.json' with { type: 'json' };
import pipelineSchema from '../../schemas/v1/pipeline.schema.json' with { type: 'json' };
import runPayloadSchema from '../../schemas/v1/run-payload.schema.json' with { type: 'json' };
import type { Issue } from '../errors.ts';
import { canonicalText } from './canonical.ts';
import type * as generated from './generated.ts';
import { refuse, toIssues } from './issues.ts';
import { measure } from './measure.ts';

/** Names whose defaults have been written out are no longer optional. */
type Complete<T, K extends keyof T> = Omit<T, K> & Required<Pick<T, K>>;

export type Connection = generated.Connection;
export type AgencyManifest = Complete<generated.AgencyManifest, 'data_classification' | 'retention_days' | 'enabled'>;
export type RunPayload = Complete<generated.RunPayload, 'stage' | 'dry_run' | 'metadata'>;
export type PipelineContract = Complete<generated.PipelineDefinition['contract'], 'onViolation' | 'maxRejectedRatio'>;
export type PipelineDefinition = Complete<
  Omit<generated.PipelineDefinition, 'contract'>,
  'classification' | 'transforms' | 'batch' | 'schedule'
> & { contract: PipelineContract };
export type {
  ColumnType,
  CastTransform,
  CsvFormat,
  DeriveTransform,
  FilterTransform,
  Format,
  JoinTransform,
  JsonFormat,
  RenameTransform,
  Transform,
} from './generated.ts';

/** As for contracts: a document for people is small, and nothing above this is worth parsing. */
const documentBytesMax = 65_536;
const documentDepthMax = 32;

// ownProperties: without it `required: ["toString"]` passes on {}. verbose: the message shows what was found.
const ajv = new Ajv2020({
  strict: true,
  strictRequired: false,
  strictTypes: false,
  allowUnionTypes: true,
  ownProperties: true,
  allErrors: true,
  verbose: true,
  useDefaults: true,
  discriminator: true,
});

// Compiled when they are first needed: it takes a third of what a command needs to start, and most commands check no document.
const agencyManifest = compiledLater(agencyManifestSchema);
const connection = compiledLater(connectionSchema);
const pipeline = compiledLater(pipelineSchema);
const runPayload = compiledLater(runPayloadSchema);

function compiledLater(schema: object): () => ValidateFunction {
  let compiled: ValidateFunction | undefined;
  return () => (compiled ??= ajv.compile(schema));
}

/** @throws INVALID_INPUT with every issue */
export function validateAgencyManifest(document: unknown): AgencyManifest {
  return check(agencyManifest, 'The agency manifest is not valid', document) as AgencyManifest;
}

/** @throws INVALID_INPUT with every issue */
export function validateConnection(document: unknown): Connection {
  return check(connection, 'The connection is not valid', document, withoutSecrets) as Connection;
}

/** @throws INVALID_INPUT with every issue */
export function validateRunPayload(document: unknown): RunPayload {
  return check(runPayload, 'The run payload is not valid', document) as RunPayload;
}

/**
 * Says whether the document is a pipeline of DESIGN, not whether this engine runs it: that is `requireOffered`.
 *
 * @throws INVALID_INPUT with every issue
 */
export function validatePipelineDefinition(document: unknown): PipelineDefinition {
  const what = 'The pipeline definition is not valid';
  const definition = check(pipeline, what, document) as PipelineDefinition;
  if (countsOnly(document)) definition.contract.maxRejectedRatio = 1;
  const { onViolation } = definition.contract;
  if ((onViolation === 'fail' || onViolation === 'freeze') && definition.contract.maxRejectedRatio > 0) {
    const message = `must be 0 or absent where onViolation is "${onViolation}", found ${definition.contract.maxRejectedRatio}`;
    refuse('INVALID_INPUT', what, [{ path: '/contract/maxRejectedRatio', rule: 'maximum', message }]);
  }
  return definition;
}

/** Messages say what was found; of a secret they must not. */
function withoutSecrets(issues: Issue[]): Issue[] {
  return issues.map((issue) =>
    issue.path.startsWith('/secret') ? { ...issue, message: 'is not as the connection’s kind has it' } : issue,
  );
}

/** Whether the document sets a limit to the number of rejected records and none to their share. */
function countsOnly(document: unknown): boolean {
  const { contract } = document as { contract: Record<string, unknown> };
  return Number.isInteger(contract['maxRejectedCount']) && contract['maxRejectedRatio'] === undefined;
}

function check(
  validator: () => ValidateFunction,
  what: string,
  document: unknown,
  shown: (issues: Issue[]) => Issue[] = (issues) => issues,
): unknown {
  const size = measure(document, documentDepthMax);
  if (size.issue !== null) refuse('INVALID_INPUT', what, [size.issue]);
  const text = canonicalText(document);
  const bytes = Buffer.byteLength(text);
  if (bytes > documentBytesMax) {
    const message = `holds ${bytes} bytes; at most ${documentBytesMax} are allowed`;
    refuse('INVALID_INPUT', what, [{ path: '', rule: 'maxBytes', message }]);
  }
  const copy: unknown = JSON.parse(text);
  const validate = validator();
  if (!validate(copy)) refuse('INVALID_INPUT', what, shown(toIssues(validate.errors ?? [])));
  return copy;
}
