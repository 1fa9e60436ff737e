import * as contracts from '../resolvers/contract.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';

export const ContractRef = builder.objectRef<contracts.Contract>('Contract');

builder.node(ContractRef, {
  description: 'One immutable version of a JSON Schema (2020-12) that every record of a source must meet.',
  auth: { scopes: [['pipeline:read']] },
  id: { resolve: ({ name, version }) => `${name}@${String(version)}` },
  loadOne: (key, ctx) => contracts.contractByKey(ctx, key),
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Shared by all versions.' }),
    version: t.exposeInt('version', { nullable: false, description: 'From 1; each registration is the next one.' }),
    document: t.field({
      type: 'JSON',
      nullable: false,
      description: 'The JSON Schema.',
      resolve: (contract) => JSON.parse(contract.document) as unknown,
    }),
    sha256: t.string({
      nullable: false,
      description: 'SHA-256 of the document’s canonical bytes (RFC 8785), in hex.',
      resolve: (contract) => contract.sha256.toString('hex'),
    }),
    createdBy: t.exposeString('createdBy', { nullable: false, description: 'Who registered it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was registered.' }),
  }),
});

const ContractPageRef = builder.connectionObject(
  { type: ContractRef, name: 'ContractConnection' },
  { name: 'ContractEdge' },
);

builder.queryFields((t) => ({
  contract: t.field({
    type: ContractRef,
    auth: { scopes: [['pipeline:read']] },
    description: 'A version of a contract.',
    args: {
      name: t.arg.string({ required: true, description: 'Its name.' }),
      version: t.arg.int({ description: 'Its version; the newest if absent.' }),
    },
    resolve: (_root, args, ctx) => contracts.contract(ctx, args),
  }),
  contracts: t.field({
    type: ContractPageRef,
    nullable: false,
    auth: { scopes: [['pipeline:read']] },
    description: 'All versions of the agency’s contracts, by name and then the newest first.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => contracts.contracts(ctx, args),
  }),
}));

const RegisterContractInput = builder.inputType('RegisterContractInput', {
  description: 'A contract’s next version.',
  fields: (t) => ({
    name: t.string({ required: true, description: '1 to 63 of a-z, 0-9 and -.' }),
    document: t.field({
      type: 'JSON',
      required: true,
      description: 'A JSON Schema (2020-12) of one record, within schemas/v1/contract.schema.json.',
    }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('registerContract', (t) =>
  t.field({
    type: ContractRef,
    nullable: false,
    auth: { scopes: [['contract:write']] },
    description: 'Registers the next version of a contract.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RegisterContractResult', description: 'The new version, or why not.' },
    },
    args: { input: t.arg({ type: RegisterContractInput, required: true, description: 'The contract.' }) },
    resolve: (_root, { input }, ctx) => contracts.registerContract(ctx, input),
  }),
);
