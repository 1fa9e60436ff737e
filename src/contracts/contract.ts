import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import contractSchema from '../../schemas/v1/contract.schema.json' with { type: 'json' };
import { canonicalText } from './canonical.ts';
import { FluxError, type Issue } from '../errors.ts';
import { installFormats } from './formats.ts';
import { refuse, toIssues } from './issues.ts';
import { limitIssues } from './limits.ts';

/** A boolean, or an object of the keywords that contract.schema.json lists. */
export type ContractSchema = boolean | ContractKeywords;

/** The keywords of a contract; what the profile leaves out is refused, so nothing is ignored in silence. */
export interface ContractKeywords {
  $ref?: string;
  $defs?: Record<string, ContractSchema>;
  $comment?: string;
  title?: string;
  description?: string;
  type?: JsonTypeName | JsonTypeName[];
  enum?: unknown[];
  const?: unknown;
  allOf?: ContractSchema[];
  anyOf?: ContractSchema[];
  oneOf?: ContractSchema[];
  not?: ContractSchema;
  if?: ContractSchema;
  then?: ContractSchema;
  else?: ContractSchema;
  properties?: Record<string, ContractSchema>;
  patternProperties?: Record<string, ContractSchema>;
  additionalProperties?: ContractSchema;
  propertyNames?: ContractSchema;
  required?: string[];
  dependentRequired?: Record<string, string[]>;
  dependentSchemas?: Record<string, ContractSchema>;
  minProperties?: number;
  maxProperties?: number;
  items?: ContractSchema;
  prefixItems?: ContractSchema[];
  contains?: ContractSchema;
  minContains?: number;
  maxContains?: number;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
}
export type JsonTypeName = 'array' | 'boolean' | 'integer' | 'null' | 'number' | 'object' | 'string';

/** A contract that has passed `validateContract`: the schema of one record, which is an object. */
export type Contract = ContractKeywords & {
  $schema: string;
  title: string;
  type: 'object';
  properties: Record<string, ContractSchema>;
};

/** Every rule that one record breaks, or none. */
export type RecordCheck = (record: unknown) => Issue[];

let compiledProfile: ValidateFunction<Contract> | undefined;

/** Compiled when it is first asked for: children, which validate no contract, are started by the thousand. */
function profile(): ValidateFunction<Contract> {
  compiledProfile ??= new Ajv2020({
    strict: true,
    strictRequired: false,
    strictTypes: false,
    ownProperties: true,
    verbose: true,
  }).compile<Contract>(contractSchema);
  return compiledProfile;
}

/**
 * Says whether the document is a contract that Flux may compile and run against strangers' records.
 *
 * @throws CONTRACT_INVALID with the issues: beyond the limits, outside the profile, a pattern that could run for ever, or
 *   what Ajv's strict mode refuses
 */
export function validateContract(document: unknown): Contract {
  const what = 'The contract is not valid';
  const issues = limitIssues(document);
  if (issues.length > 0) refuse('CONTRACT_INVALID', what, issues);
  const contract: unknown = JSON.parse(canonicalText(document));
  const fits = profile();
  if (!fits(contract)) refuse('CONTRACT_INVALID', what, toIssues(fits.errors ?? []));
  compileContract(contract);
  return contract;
}

/**
 * Compiles a contract into a check of one record. The check reports every broken rule, because a rejected record is only
 * worth keeping with all of its reasons.
 *
 * @throws CONTRACT_INVALID Ajv refuses the schema (an unknown type, a `$ref` to nothing, a keyword without effect)
 */
export function compileContract(contract: Contract): RecordCheck {
  // One instance a contract: a shared one would keep every contract ever seen, and two with one $id would collide.
  const ajv = new Ajv2020({
    strict: true,
    strictRequired: false,
    strictTypes: false,
    strictTuples: false,
    allowUnionTypes: true,
    ownProperties: true,
    allErrors: true,
    verbose: true,
    validateSchema: true,
    addUsedSchema: false,
    logger: false,
  });
  installFormats(ajv);
  try {
    const validate = ajv.compile<unknown>(contract);
    return (record) => (validate(record) ? [] : toIssues(validate.errors as ErrorObject[]));
  } catch (cause) {
    const text = (cause as Error).message;
    const issue = { path: '', rule: 'compile', message: text };
    throw new FluxError('CONTRACT_INVALID', `The contract does not compile: ${text}. Correct the schema.`, {
      details: { issues: [issue] },
      cause,
    });
  }
}
