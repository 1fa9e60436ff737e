import * as standing from '../resolvers/run-standing.ts';
import type { Run } from '../resolvers/run.ts';
import { builder } from './builder.ts';
import { CheckpointRef } from './checkpoint.ts';
import { RunEventRef } from './run-event.ts';
import { RunRef } from './run-ref.ts';

export const RunActionRef = builder.enumType('RunAction', {
  description: 'What people may ask of a run that there is.',
  values: {
    CANCEL: { description: '`cancelRun`' },
    RESUME: { description: '`resumeRun`' },
    RERUN: { description: '`rerunRun`' },
    FORK: { description: '`forkRun`, from one of its checkpoints' },
    REPROCESS: { description: '`reprocessRejected`' },
  } satisfies Record<standing.RunAction, { description: string }>,
});

export const PermissionRef = builder.objectRef<standing.Permission>('Permission').implement({
  description: 'Whether the caller may do something now.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    allowed: t.exposeBoolean('allowed', {
      nullable: false,
      description: 'Whether it would be taken, as things stand.',
    }),
    reason: t.exposeString('reason', { description: 'Why not; null when it is allowed.' }),
  }),
});

const WaitingCodeRef = builder.enumType('WaitingCode', {
  description: 'Why a run does not move.',
  values: {
    QUEUED: { description: 'Waits for a free worker; `queuePosition` says how many come first.' },
    FAIR_SHARE: { description: 'First of its agency, and the turn is with other agencies: at most a quantum each.' },
    AGENCY_CAP: { description: 'The agency has as many partitions at work as it may.' },
    NO_WORKER: { description: 'No worker has been seen lately.' },
    DRAINING: { description: 'Every worker that there is is stopping.' },
    BACKING_OFF: { description: 'A failure that may pass by itself; tried again at `until`.' },
    BEING_REASSIGNED: { description: 'Its worker has gone; the next one takes over.' },
    CANCELLING: { description: 'Its workers have not all acknowledged the cancel; forced at `until`.' },
    AGENCY_DISABLED: { description: 'No worker takes runs of the agency.' },
  } satisfies Record<standing.WaitingCode, { description: string }>,
});

export const WaitingReasonRef = builder.objectRef<standing.WaitingReason>('WaitingReason').implement({
  description: 'Why a run does not move now.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    code: t.expose('code', { type: WaitingCodeRef, nullable: false, description: 'Which kind of wait.' }),
    message: t.exposeString('message', { nullable: false, description: 'The same in words.' }),
    queuePosition: t.exposeInt('queuePosition', {
      description:
        'From 1, in the agency’s own queue, among the runs that the caller may see; null when it is not in it.',
    }),
    until: t.expose('until', { type: 'DateTime', description: 'When the wait ends by itself, where that is known.' }),
  }),
});

export const RunLineageRef = builder.objectRef<Run>('RunLineage').implement({
  description: 'Where a run comes from.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    resumedFrom: t.field({
      type: RunEventRef,
      description: 'The event that ended the attempt before; null in the first attempt.',
      resolve: (run, _args, ctx) => standing.resumedFrom(ctx, run),
    }),
    rerunOf: t.field({
      type: RunRef,
      description: 'The run whose inputs it repeats.',
      resolve: (run, _args, ctx) => standing.rerunOf(ctx, run),
    }),
    reprocessOf: t.field({
      type: RunRef,
      description: 'The run whose rejected records it puts through the contract again.',
      resolve: (run, _args, ctx) => standing.reprocessOf(ctx, run),
    }),
    inputRun: t.field({
      type: RunRef,
      description: 'The run of an earlier stage whose parts it reads.',
      resolve: (run, _args, ctx) => standing.inputRun(ctx, run),
    }),
    forkedFrom: t.field({
      type: RunRef,
      description: 'The run from whose checkpoint it goes on.',
      resolve: (run, _args, ctx) => standing.forkedFrom(ctx, run),
    }),
    forkedFromCheckpoint: t.field({
      type: CheckpointRef,
      description: 'That checkpoint, as long as it is kept.',
      resolve: (run, _args, ctx) => standing.forkedFromCheckpoint(ctx, run),
    }),
  }),
});
