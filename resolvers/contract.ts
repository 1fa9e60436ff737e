import { compareContracts, type ContractComparison } from '../src/contracts/compare-contracts.ts';
import type { Contract as ContractDocument } from '../src/contracts/contract.ts';
import { type Contract, findContract, listContracts } from '../src/db/contracts.ts';
import { registerContract as register } from '../src/domain/register-contract.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { versionedNameOf } from './ids.ts';

export type Comparison = ContractComparison & { previousVersion: number };

export type { Contract } from '../src/db/contracts.ts';
export { type ContractChange, changeKinds } from '../src/contracts/compare-contracts.ts';

export function contract(
  ctx: Context,
  { name, version }: { name: string; version?: number | null | undefined },
): Promise<Contract | null> {
  return read(ctx, (tx) => findContract(tx, name, version ?? null));
}

/** @param key `name@version` */
export async function contractByKey(ctx: Context, key: string): Promise<Contract | null> {
  const wanted = versionedNameOf(key);
  return wanted && contract(ctx, wanted);
}

/** What the version says otherwise than the one before; null for the first. */
export async function comparison(ctx: Context, { name, version, document }: Contract): Promise<Comparison | null> {
  if (version === 1) return null;
  const before = await contract(ctx, { name, version: version - 1 });
  if (!before) return null;
  const read = (text: string): ContractDocument => JSON.parse(text) as ContractDocument;
  return { previousVersion: before.version, ...compareContracts(read(before.document), read(document)) };
}

export function contracts(ctx: Context, args: PageArgs): Promise<Page<Contract>> {
  return pageOf(ctx, 'contracts', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listContracts(tx, { after: position && toPosition(position), limit, backward })),
    positionOf: ({ name, version }) => [name, String(version)],
  });
}

function toPosition([name = '', version = '0']: string[]): { name: string; version: number } {
  return { name, version: Number(version) };
}

export interface RegisterContractArgs {
  name: string;
  document?: unknown;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function registerContract(ctx: Context, input: RegisterContractArgs): Promise<Contract> {
  const { name, document, reason = null, idempotencyKey = null } = input;
  return register(ctx.api, ctx, { name, document, reason, idempotencyKey });
}
