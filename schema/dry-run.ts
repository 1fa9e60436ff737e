import type { DryRunPlan, DryRunDestination } from '../src/domain/dry-run.ts';
import { builder } from './builder.ts';

const read = { scopes: [['run:read' as const]] };

const PlannedColumnRef = builder.objectRef<{ name: string; type: string }>('PlannedColumn').implement({
  description: 'A column, with its type.',
  auth: read,
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Its name.' }),
    type: t.exposeString('type', {
      nullable: false,
      description: 'PostgreSQL’s type of a dataset’s column, DuckDB’s of a part’s.',
    }),
  }),
});

const PlannedStepRef = builder.objectRef<DryRunPlan['steps'][number]>('PlannedStep').implement({
  description: 'A step that records would pass.',
  auth: read,
  fields: (t) => ({
    stage: t.exposeString('stage', { nullable: false, description: 'INGEST, TRANSFORM or EXPORT.' }),
    step: t.exposeString('step', { nullable: false, description: 'Its name.' }),
    kind: t.exposeString('kind', {
      nullable: false,
      description: 'read, validate, row, filter, deduplicate, join, aggregate, query or write.',
    }),
  }),
});

const PlannedPartitionRef = builder.objectRef<DryRunPlan['partitions'][number]>('PlannedPartition').implement({
  description: 'A part of the source that one worker would hold.',
  auth: read,
  fields: (t) => ({
    recordsBefore: t.field({
      type: 'BigInt',
      nullable: false,
      description: 'Records before it.',
      resolve: ({ record }) => BigInt(record),
    }),
    records: t.field({
      type: 'BigInt',
      nullable: false,
      description: 'Records of it.',
      resolve: ({ records }) => BigInt(records),
    }),
  }),
});

const ContractFindingRef = builder.objectRef<DryRunPlan['sample']['findings'][number]>('ContractFinding').implement({
  description: 'A rule that records of the sample broke.',
  auth: read,
  fields: (t) => ({
    path: t.exposeString('path', { nullable: false, description: 'Where in the record, as a JSON Pointer.' }),
    rule: t.exposeString('rule', { nullable: false, description: 'Which rule, by its keyword.' }),
    count: t.exposeInt('count', { nullable: false, description: 'How many records of the sample broke it.' }),
    recordNo: t.exposeInt('recordNo', {
      nullable: false,
      description: 'The first of them, by its number in the source.',
    }),
    example: t.exposeString('example', {
      auth: { scopes: [['data:read']] },
      description: 'What was expected of it and what was found.',
    }),
  }),
});

const PersonalDataColumnRef = builder
  .objectRef<DryRunPlan['sample']['personalData'][number]>('PersonalDataColumn')
  .implement({
    description: 'A column of the output whose values look like personal data.',
    auth: read,
    fields: (t) => ({
      column: t.exposeString('column', { nullable: false, description: 'Its name.' }),
      kind: t.exposeString('kind', {
        nullable: false,
        description:
          'SSN, EIN, PAYMENT_CARD, ROUTING_NUMBER, NPI, PHONE, EMAIL, DATE_OF_BIRTH, NAME or IDENTITY_DOCUMENT.',
      }),
      matches: t.exposeInt('matches', { nullable: false, description: 'Values of the sample that look like it.' }),
      checked: t.exposeInt('checked', { nullable: false, description: 'Values of the sample that are not null.' }),
    }),
  });

const DryRunSampleRef = builder.objectRef<DryRunPlan['sample']>('DryRunSample').implement({
  description: 'What records from all over the source show.',
  auth: read,
  fields: (t) => ({
    recordsRead: t.exposeInt('recordsRead', { nullable: false, description: 'Records of the sample.' }),
    recordsGood: t.exposeInt('recordsGood', { nullable: false, description: 'Those that would be written.' }),
    recordsRejected: t.exposeInt('recordsRejected', { nullable: false, description: 'Those that break the contract.' }),
    recordsFiltered: t.exposeInt('recordsFiltered', {
      nullable: false,
      description: 'Those that a declared rule would leave out.',
    }),
    places: t.exposeInt('places', {
      description:
        'Stretches of records beside each other that were looked at, evenly over the source; null of a dry run of an older version, as the fields below.',
    }),
    firstRecord: t.field({
      type: 'BigInt',
      description: 'The first record that was looked at, by its number.',
      resolve: ({ firstRecord }) => big(firstRecord),
    }),
    lastRecord: t.field({ type: 'BigInt', description: 'The last one.', resolve: ({ lastRecord }) => big(lastRecord) }),
    widestGap: t.field({
      type: 'BigInt',
      description: 'The most records beside each other that nobody looked at.',
      resolve: ({ widestGap }) => big(widestGap),
    }),
    findings: t.expose('findings', {
      type: [ContractFindingRef],
      nullable: false,
      description: 'The rules that they break, the commonest first; at most 50.',
    }),
    personalData: t.expose('personalData', {
      type: [PersonalDataColumnRef],
      nullable: false,
      description:
        'Columns that seem to hold personal data, recognised by how their values are written. That none is named proves nothing.',
    }),
  }),
});

const EstimateRef = builder.objectRef<DryRunPlan['estimate']>('DryRunEstimate').implement({
  description: 'The sample’s shares, of the whole source.',
  auth: read,
  fields: (t) => ({
    recordsWritten: t.field({
      type: 'BigInt',
      description: 'Records that would be written.',
      resolve: ({ recordsWritten }) => big(recordsWritten),
    }),
    recordsRejected: t.field({
      type: 'BigInt',
      description: 'Records that would be rejected.',
      resolve: ({ recordsRejected }) => big(recordsRejected),
    }),
    recordsFiltered: t.field({
      type: 'BigInt',
      description: 'Records that would be left out.',
      resolve: ({ recordsFiltered }) => big(recordsFiltered),
    }),
  }),
});

const ChangedColumnRef = builder.objectRef<DryRunDestination['changed'][number]>('ChangedColumn').implement({
  description: 'A column whose type differs.',
  auth: read,
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Its name.' }),
    from: t.exposeString('from', { nullable: false, description: 'The dataset’s type.' }),
    to: t.exposeString('to', { nullable: false, description: 'The output’s type.' }),
  }),
});

const DestinationRef = builder.objectRef<DryRunDestination>('DryRunDestination').implement({
  description: 'What a run would do to the dataset.',
  auth: read,
  fields: (t) => ({
    dataset: t.exposeString('dataset', { nullable: false, description: 'Its name.' }),
    mode: t.exposeString('mode', { nullable: false, description: '`append`, `replace` or `merge`.' }),
    exists: t.exposeBoolean('exists', { nullable: false, description: 'Whether it is there now; a run makes it.' }),
    fits: t.exposeBoolean('fits', {
      nullable: false,
      description: 'Whether its columns are the output’s; a run fails with DESTINATION_CONFLICT otherwise.',
    }),
    added: t.expose('added', {
      type: [PlannedColumnRef],
      nullable: false,
      description: 'Columns that only the output has.',
    }),
    removed: t.expose('removed', {
      type: [PlannedColumnRef],
      nullable: false,
      description: 'Columns that only the dataset has.',
    }),
    changed: t.expose('changed', {
      type: [ChangedColumnRef],
      nullable: false,
      description: 'Columns that both have, with another type.',
    }),
    loads: t.exposeInt('loads', { nullable: false, description: 'Loads that are part of it now.' }),
    records: t.field({
      type: 'BigInt',
      nullable: false,
      description: 'Records of these loads by their own counts.',
      resolve: ({ records }) => BigInt(records),
    }),
    supersededLoads: t.exposeInt('supersededLoads', {
      nullable: false,
      description: 'Loads that the run would take the place of.',
    }),
  }),
});

export const DryRunPlanRef = builder.objectRef<DryRunPlan>('DryRunPlan').implement({
  description: 'What a run would do now.',
  auth: read,
  fields: (t) => ({
    origin: t.exposeString('origin', { nullable: false, description: 'Where the records come from.' }),
    sha256: t.exposeString('sha256', { description: 'Of the source’s bytes; null where a stage reads parts.' }),
    recordsTotal: t.field({
      type: 'BigInt',
      description: 'Records of the source.',
      resolve: ({ recordsTotal }) => big(recordsTotal),
    }),
    bytesTotal: t.field({
      type: 'BigInt',
      nullable: false,
      description: 'Bytes of the source.',
      resolve: ({ bytesTotal }) => BigInt(bytesTotal),
    }),
    estimate: t.expose('estimate', {
      type: EstimateRef,
      nullable: false,
      description: 'What would become of the records.',
    }),
    steps: t.expose('steps', {
      type: [PlannedStepRef],
      nullable: false,
      description: 'The steps, in the order in which records would pass them.',
    }),
    partitions: t.expose('partitions', {
      type: [PlannedPartitionRef],
      nullable: false,
      description: 'How the source would be cut.',
    }),
    columns: t.expose('columns', {
      type: [PlannedColumnRef],
      nullable: false,
      description: 'What would come out.',
    }),
    sample: t.expose('sample', {
      type: DryRunSampleRef,
      nullable: false,
      description: 'What records from all over it show: at most 10000, or all where only new ones count.',
    }),
    destination: t.expose('destination', {
      type: DestinationRef,
      description: 'What would become of the dataset; null where the stage ends in parts.',
    }),
  }),
});

function big(count: number | null | undefined): bigint | null {
  return count === null || count === undefined ? null : BigInt(count);
}
