import * as runEvents from '../resolvers/run-event.ts';
import { type EventName, eventNames } from '../src/domain/run.ts';
import type { RunEvent, StreamEnd, StreamGap } from '../src/events/follow.ts';
import { pageArgs } from './arguments.ts';
import { builder } from './builder.ts';
import { RunStageRef, RunStatusRef } from './vocabulary.ts';

export const RunEventRef = builder.interfaceRef<RunEvent>('RunEvent').implement({
  description: 'One immutable entry of a run’s history. `seq` is contiguous from 1 within the run.',
  auth: { scopes: [['run:read']] },
  resolveType: (event) => event.name,
  fields: (t) => ({
    id: t.exposeID('id', { nullable: false, description: 'Unique among all events.' }),
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    seq: t.expose('seq', {
      type: 'BigInt',
      nullable: false,
      description: 'Place in the run’s history, from 1, without holes.',
    }),
    cursor: t.string({
      nullable: false,
      description: 'Where `runEvents` and `runEventLog` go on after this event.',
      resolve: (event, _args, ctx) => runEvents.cursorOf(ctx, event),
    }),
    at: t.expose('at', { type: 'DateTime', nullable: false, description: 'When, by the database’s clock.' }),
    name: t.exposeString('name', { nullable: false, description: 'The event’s type.' }),
    stage: t.expose('stage', { type: RunStageRef, description: 'The stage that it belongs to.' }),
    step: t.exposeString('step', { description: 'The step that it belongs to.' }),
    partitionNo: t.exposeInt('partitionNo', { description: 'The partition that it belongs to.' }),
    attempt: t.exposeInt('attempt', { nullable: false, description: 'The attempt of the run, from 1.' }),
    message: t.exposeString('message', { nullable: false, description: 'One sentence for people.' }),
    data: t.field({
      type: 'JSON',
      auth: { scopes: [['data:read']] },
      description: 'The facts for programs.',
      resolve: (event) => event.data,
    }),
    traceId: t.exposeString('traceId', { description: 'The trace of the request that started the run.' }),
  }),
});

const meanings: Record<EventName, string> = {
  RunQueued: 'The run exists and waits for a worker.',
  RunStarted: 'A worker took the run for the first time.',
  PlanMade: 'The source is pinned and cut into partitions.',
  StageStarted: 'A stage began.',
  PartitionClaimed: 'A worker took a partition.',
  BatchCommitted: 'A batch’s records, counts and checkpoint are durable.',
  CheckpointSaved: 'The position after a batch is durable.',
  RecordsRejected: 'Records broke the contract and were kept with their reasons.',
  StageCompleted: 'A stage is done.',
  PartitionTakenOver: 'A worker took a partition whose former holder lost its lease.',
  PartitionRetried: 'A transient failure; the partition is tried again later.',
  PartitionYielded:
    'Its turn was over and others waited; a worker goes on from its last checkpoint when it comes next.',
  CheckpointRejected: 'A damaged checkpoint was passed over for an older intact one.',
  LoadPublished: 'The run’s records became visible in their dataset, all at once.',
  PackageWritten: 'The use case’s package stands.',
  CancelRequested: 'Somebody asked the run to stop.',
  CancelAcknowledged: 'A worker stopped at a batch boundary.',
  RunResumed: 'The next attempt began.',
  RunCompleted: 'The attempt’s last event: done, and all counts add up.',
  RunFailed: 'The attempt’s last event: failed.',
  RunCancelled: 'The attempt’s last event: stopped on request.',
};

const RunEventNameRef = builder.enumType('RunEventName', {
  description: 'The types of events, called as `name` is.',
  values: Object.fromEntries(eventNames.map((name) => [name, { value: name, description: meanings[name] }])) as Record<
    EventName,
    { value: EventName; description: string }
  >,
});

const variants = eventNames.map((name) =>
  builder.objectRef<RunEvent>(name).implement({
    description: meanings[name],
    auth: { scopes: [['run:read']] },
    interfaces: [RunEventRef],
  }),
);

const StreamGapRef = builder.objectRef<StreamGap>('StreamGap').implement({
  description: 'Events that cannot be delivered any more. Said, never passed over in silence.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    fromSeq: t.expose('fromSeq', { type: 'BigInt', nullable: false, description: 'The first that is missing.' }),
    toSeq: t.expose('toSeq', { type: 'BigInt', nullable: false, description: 'The last that is missing.' }),
    reason: t.exposeString('reason', {
      nullable: false,
      description: '`RETENTION`: removed because their time was over.',
    }),
    cursor: t.string({
      nullable: false,
      description: 'Where the stream goes on after the gap.',
      resolve: (gap, _args, ctx) => runEvents.cursorOf(ctx, gap),
    }),
  }),
});

const StreamEndRef = builder.objectRef<StreamEnd>('StreamEnd').implement({
  description:
    'The attempt is over and its last event has been delivered; the subscription completes. After a resume the same cursor goes on.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    status: t.expose('status', { type: RunStatusRef, nullable: false, description: 'How the attempt ended.' }),
    attempt: t.exposeInt('attempt', { nullable: false, description: 'The attempt that ended, from 1.' }),
    lastSeq: t.expose('lastSeq', { type: 'BigInt', nullable: false, description: 'The last event’s `seq`.' }),
    cursor: t.string({
      nullable: false,
      description: 'Where the stream goes on after a resume.',
      resolve: (end, _args, ctx) => runEvents.cursorOf(ctx, end),
    }),
  }),
});

const RunEventItemRef = builder.unionType('RunEventItem', {
  description: 'What the subscription delivers: events, and what it has to say of itself.',
  types: [...variants, StreamGapRef, StreamEndRef],
  resolveType: (item) => runEvents.typeNameOf(item),
});

export const RunEventPageRef = builder.connectionObject(
  { type: RunEventRef, name: 'RunEventConnection' },
  { name: 'RunEventEdge' },
);

builder.queryField('runEventLog', (t) =>
  t.field({
    type: RunEventPageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description: 'A run’s events in order. The cursors are those of `runEvents`.',
    args: {
      runId: t.arg.id({ required: true, description: 'The run, by global id or UUID.' }),
      names: t.arg({
        type: [RunEventNameRef],
        description:
          'Only events of these types; the others are looked through, so it takes longer the more there are.',
      }),
      ...pageArgs(t.arg),
    },
    resolve: (_root, args, ctx) => runEvents.runEventLog(ctx, args),
  }),
);

builder.subscriptionField('runEvents', (t) =>
  t.field({
    type: RunEventItemRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description:
      'Every event of a run after a cursor, in order and exactly once, live; completes after `StreamEnd`. Whoever loses the connection subscribes again with the last `cursor` it got.',
    args: {
      runId: t.arg.id({ required: true, description: 'The run, by global id or UUID.' }),
      after: t.arg.string({ description: 'The last cursor that the client has; all events if absent.' }),
    },
    subscribe: (_root, args, ctx) => runEvents.runEvents(ctx, args),
    resolve: (item) => runEvents.itemOf(item),
  }),
);
