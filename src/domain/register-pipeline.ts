import { classifications } from '../auth/principal.ts';
import { canonicalBytes } from '../canonical-json.ts';
import { type PipelineDefinition, validatePipelineDefinition } from '../contracts/documents.ts';
import type { Contract as ContractDocument } from '../contracts/contract.ts';
import { incrementalIssues } from '../contracts/incremental-issues.ts';
import { requireOffered } from '../contracts/offered.ts';
import { ruleIssues } from '../contracts/rule-issues.ts';
import { sha256 } from '../crypto/hash.ts';
import { type Agency, readOwnAgency } from '../db/agencies-read.ts';
import { findConnection, listConnections } from '../db/connections.ts';
import { findContract } from '../db/contracts.ts';
import { lockName } from '../db/idempotency.ts';
import { findPipeline, insertPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError, type Issue } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import { type Change, perform } from './perform.ts';
import { nameOf } from './register-connection.ts';

export interface RegisterPipeline extends Asked {
  /** A document of schemas/v1/pipeline.schema.json, not yet validated. */
  definition: unknown;
}

/**
 * Registers the next version of a pipeline, which is the current one from then on. Versions never change; a run keeps the one
 * that it started with.
 *
 * @throws INVALID_INPUT the document breaks a rule, names what does not exist, or asks for what is not offered
 * @throws FORBIDDEN the classification is above the caller's clearance
 */
export async function registerPipeline(deps: DomainDeps, caller: Caller, input: RegisterPipeline): Promise<Pipeline> {
  const { value } = await perform<Pipeline, PipelineDefinition>(deps, caller, {
    action: 'pipeline.register',
    resourceType: 'pipeline',
    resourceId: nameOf(input.definition),
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: input.definition ?? null,
    check: () => {
      const definition: PipelineDefinition = validatePipelineDefinition(input.definition);
      requireOffered(definition);
      requireClearance(caller, definition);
      requireNoPersonalData('The pipeline', definition);
      return definition;
    },
    change: (tx, definition) => addVersion(tx, caller, definition),
    again: async (tx, { name, version }) => {
      const pipeline = await findPipeline(tx, String(name), Number(version));
      if (!pipeline)
        throw new FluxError('NOT_FOUND', `There is no pipeline ${String(name)} version ${String(version)}.`);
      return pipeline;
    },
  });
  return value;
}

async function addVersion(tx: Connection, caller: Caller, definition: PipelineDefinition): Promise<Change<Pipeline>> {
  await requireSupported(tx, definition);
  const { kind } = await requireConnection(tx, definition.source.connection);
  requireFitting(definition, await requireContract(tx, definition.contract), kind);
  await lockName(tx, 'pipeline', definition.name);
  const before = await findPipeline(tx, definition.name, null);
  const canonical = canonicalBytes(definition);
  const pipeline = await insertPipeline(tx, {
    name: definition.name,
    title: definition.title,
    contentType: definition.contentType,
    useCase: definition.useCase,
    classification: levelOf(definition),
    contractName: definition.contract.name,
    contractVersion: definition.contract.version,
    connectionName: definition.source.connection,
    definition: canonical.toString('utf8'),
    sha256: sha256(canonical),
    createdBy: caller.principal.subject,
  }).catch((cause: unknown) => {
    throw nameTaken(cause, definition.name);
  });
  const reference = { name: pipeline.name, version: pipeline.version };
  return {
    value: pipeline,
    resourceId: `${pipeline.name}@${String(pipeline.version)}`,
    reference,
    before: before && told(before),
    after: told(pipeline),
  };
}

function told({ name, version, sha256, classification, enabled }: Pipeline): unknown {
  return { name, version, sha256: sha256.toString('hex'), classification: classifications[classification], enabled };
}

/** A version that the caller cannot see holds the number: the name belongs to a pipeline above the clearance. */
function nameTaken(cause: unknown, name: string): unknown {
  const { code, constraint } = (cause ?? {}) as { code?: unknown; constraint?: unknown };
  if (code !== '23505' || constraint !== 'pipelines_pkey') return cause;
  return new FluxError('INVALID_INPUT', `The name ${name} cannot be used. Choose another.`, { cause });
}

function requireClearance({ principal }: Caller, definition: PipelineDefinition): void {
  const level = levelOf(definition);
  if (level <= principal.clearance) return;
  throw new FluxError(
    'FORBIDDEN',
    `The pipeline is classified ${String(classifications[level])}, above your clearance ${String(classifications[principal.clearance])}. Ask somebody who is cleared to register it.`,
  );
}

async function requireSupported(tx: Connection, definition: PipelineDefinition): Promise<void> {
  const agency = (await readOwnAgency(tx)) as Agency; // foreign keys keep it
  const issues: Issue[] = [];
  const need = (path: string, found: string, supported: readonly string[]): void => {
    if (!supported.includes(found)) {
      issues.push({
        path,
        rule: 'supported',
        message: `${found} is not supported by the agency; supported: ${supported.join(', ')}`,
      });
    }
  };
  need('/contentType', definition.contentType, agency.supportedContentTypes);
  need('/useCase', definition.useCase, agency.supportedUseCases);
  need(
    '/classification',
    classifications[levelOf(definition)] ?? '',
    classifications.slice(0, agency.dataClassification + 1),
  );
  if (issues.length > 0) throw invalid(issues);
}

async function requireConnection(tx: Connection, name: string): Promise<{ kind: string }> {
  const found = await findConnection(tx, name);
  if (found) return found;
  const candidates = (await listConnections(tx, { after: null, limit: 20 })).map((connection) => connection.name);
  const known = candidates.length > 0 ? `Registered are: ${candidates.join(', ')}.` : 'None is registered.';
  throw new FluxError(
    'INVALID_INPUT',
    `There is no connection ${name}. ${known} Register the connection first (registerConnection).`,
    {
      details: {
        candidates,
        issues: [{ path: '/source/connection', rule: 'exists', message: `there is no connection ${name}` }],
      },
    },
  );
}

/** @returns the document as it was accepted */
async function requireContract(
  tx: Connection,
  { name, version }: PipelineDefinition['contract'],
): Promise<ContractDocument> {
  const found = await findContract(tx, name, version);
  if (found) return JSON.parse(found.document) as ContractDocument;
  const newest = await findContract(tx, name, null);
  const known = newest ? `Its newest version is ${String(newest.version)}.` : 'No contract of that name is registered.';
  throw new FluxError(
    'INVALID_INPUT',
    `There is no contract ${name} version ${String(version)}. ${known} Register the contract first (registerContract).`,
    {
      details: {
        candidates: newest ? [`${name}@${String(newest.version)}`] : [],
        issues: [
          { path: '/contract', rule: 'exists', message: `there is no contract ${name} version ${String(version)}` },
        ],
      },
    },
  );
}

/** What the pipeline asks of its contract is there. */
function requireFitting(definition: PipelineDefinition, contract: ContractDocument, kind: string): void {
  const issues = [...ruleIssues(definition, contract), ...incrementalIssues(definition, contract, kind)];
  if (issues.length > 0) throw invalid(issues);
}

function levelOf({ classification }: PipelineDefinition): number {
  return classifications.indexOf(classification);
}

function invalid(issues: readonly Issue[]): FluxError {
  const text = issues.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return new FluxError('INVALID_INPUT', `The pipeline cannot be registered. ${text}.`, { details: { issues } });
}
