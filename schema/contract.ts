import * as contracts from '../resolvers/contract.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';

export const ContractRef = builder.objectRef<contracts.Contract>('Contract');

const ContractChangeKindEnum = builder.enumType('ContractChangeKind', {
  description: 'What became of a rule of a contract.',
  values: {
    ADDED: { description: 'The version before did not have it.' },
    REMOVED: { description: 'Only the version before has it.' },
    CHANGED: { description: 'Both have it, and it says something else.' },
  } satisfies Record<(typeof contracts.changeKinds)[number], { description: string }>,
});

const ContractChangeRef = builder.objectRef<contracts.ContractChange>('ContractChange').implement({
  description: 'One thing that a version of a contract says otherwise than the one before.',
  auth: { scopes: [['pipeline:read']] },
  fields: (t) => ({
    path: t.exposeString('path', {
      nullable: false,
      description: 'JSON Pointer of the part of a record that it is about; `*` stands for any place.',
    }),
    keyword: t.exposeString('keyword', { nullable: false, description: 'The keyword of JSON Schema.' }),
    kind: t.expose('kind', {
      type: ContractChangeKindEnum,
      nullable: false,
      description: 'Whether it came, went or changed.',
    }),
    breaking: t.exposeBoolean('breaking', {
      nullable: false,
      description: 'A record that met the version before may not meet this one, or its column changes.',
    }),
    message: t.exposeString('message', { nullable: false, description: 'What was and what is, for people.' }),
  }),
});

const ContractComparisonRef = builder.objectRef<contracts.Comparison>('ContractComparison').implement({
  description: 'A version of a contract held against the one before.',
  auth: { scopes: [['pipeline:read']] },
  fields: (t) => ({
    previousVersion: t.exposeInt('previousVersion', { nullable: false, description: 'The version before.' }),
    compatible: t.exposeBoolean('compatible', {
      nullable: false,
      description:
        'Every record that met the version before meets this one, and every column keeps its name and type. Where that cannot be shown, it is false.',
    }),
    changes: t.expose('changes', {
      type: [ContractChangeRef],
      nullable: false,
      description: 'What changed; none when both say the same.',
    }),
  }),
});

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
    comparison: t.field({
      type: ContractComparisonRef,
      description: 'What it says otherwise than the version before, and whether it is compatible; null for the first.',
      resolve: (contract, _args, ctx) => contracts.comparison(ctx, contract),
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
    description:
      'Registers the next version of a contract. `comparison` says what changed and whether it is compatible.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RegisterContractResult', description: 'The new version, or why not.' },
    },
    args: { input: t.arg({ type: RegisterContractInput, required: true, description: 'The contract.' }) },
    resolve: (_root, { input }, ctx) => contracts.registerContract(ctx, input),
  }),
);
