import type { StoredRejectedRecord } from '../resolvers/rejected-record.ts';
import { builder } from './builder.ts';
import { IssueRef } from './errors.ts';

const RejectedRecordRef = builder.objectRef<StoredRejectedRecord>('RejectedRecord').implement({
  description: 'A record that the contract refused, kept with every reason.',
  auth: { scopes: [['data:read']] },
  fields: (t) => ({
    recordNo: t.expose('recordNo', {
      type: 'BigInt',
      nullable: false,
      description: 'Its number in the source, from 1.',
    }),
    partitionNo: t.exposeInt('partitionNo', { nullable: false, description: 'The partition that read it.' }),
    byteOffset: t.expose('byteOffset', {
      type: 'BigInt',
      description: 'Where it begins in the pinned source, where that is known.',
    }),
    contractName: t.exposeString('contractName', { description: 'The contract that refused it.' }),
    contractVersion: t.exposeInt('contractVersion', { description: 'That contract’s version.' }),
    reasons: t.field({
      type: [IssueRef],
      nullable: false,
      description: 'Every broken rule.',
      resolve: (record) => record.reasons,
    }),
    raw: t.exposeString('raw', { description: 'The record as the source has it, as far as it can be shown.' }),
    landedBy: t.exposeString('landedBy', {
      description:
        'The UUID of the run that reprocessed it and has accounted for it: written, or left out by a declared rule. Null while it is rejected.',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was refused.' }),
  }),
});

export const RejectedRecordPageRef = builder.connectionObject(
  { type: RejectedRecordRef, name: 'RejectedRecordConnection' },
  { name: 'RejectedRecordEdge' },
);
