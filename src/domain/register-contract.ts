import { canonicalBytes } from '../canonical-json.ts';
import { compareContracts } from '../contracts/compare-contracts.ts';
import type { Contract as ContractDocument } from '../contracts/contract.ts';
import { ContractValidator } from '../contracts/validate-apart.ts';
import { sha256 } from '../crypto/hash.ts';
import { type Contract, findContract, insertContract } from '../db/contracts.ts';
import { lockName } from '../db/idempotency.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import { type Change, perform } from './perform.ts';
import { nameOf } from './register-connection.ts';

export interface RegisterContract extends Asked {
  name: string;
  /** A JSON Schema, not yet validated. */
  document: unknown;
}

/** One child for all who register: contracts are few, and it is there only while some come. */
const validator = new ContractValidator();

/**
 * Registers the next version of a contract. Versions never change, and every registration is a new one.
 *
 * @throws INVALID_INPUT the name does not fit
 * @throws CONTRACT_INVALID the document does not compile, or uses what contracts may not
 */
export async function registerContract(deps: DomainDeps, caller: Caller, input: RegisterContract): Promise<Contract> {
  const validated = nameOf(input) === null ? null : await outcomeOf(validator.validate(input.document));
  const { value } = await perform<Contract, ContractDocument>(deps, caller, {
    action: 'contract.register',
    resourceType: 'contract',
    resourceId: nameOf(input),
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { name: input.name, document: input.document ?? null },
    check: () => {
      if (validated === null) {
        throw new FluxError(
          'INVALID_INPUT',
          'The contract’s name must be 1 to 63 of a-z, 0-9 and -, and not begin with -.',
        );
      }
      const document = validated();
      requireNoPersonalData('The contract', document);
      return document;
    },
    change: (tx, document) => addVersion(tx, caller, input.name, document),
    again: async (tx, { name, version }) => {
      const contract = await findContract(tx, String(name), Number(version));
      if (!contract)
        throw new FluxError('NOT_FOUND', `There is no contract ${String(name)} version ${String(version)}.`);
      return contract;
    },
  });
  return value;
}

/** What became of it, to be taken where a refusal is recorded. */
async function outcomeOf<T>(promise: Promise<T>): Promise<() => T> {
  try {
    const value = await promise;
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

async function addVersion(
  tx: Connection,
  caller: Caller,
  name: string,
  document: ContractDocument,
): Promise<Change<Contract>> {
  await lockName(tx, 'contract', name);
  const canonical = canonicalBytes(document);
  const contract = await insertContract(tx, {
    name,
    document: canonical.toString('utf8'),
    sha256: sha256(canonical),
    createdBy: caller.principal.subject,
  });
  const reference = { name, version: contract.version };
  const before = contract.version === 1 ? null : await findContract(tx, name, contract.version - 1);
  return {
    value: contract,
    resourceId: `${name}@${String(contract.version)}`,
    reference,
    after: {
      ...reference,
      sha256: contract.sha256.toString('hex'),
      ...(before ? { compatible: isCompatible(before, document) } : {}),
    },
  };
}

function isCompatible(before: Contract, document: ContractDocument): boolean {
  return compareContracts(JSON.parse(before.document) as ContractDocument, document).compatible;
}
