import * as datasets from '../resolvers/dataset.ts';
import { pageArgs } from './arguments.ts';
import { builder } from './builder.ts';
import { LoadRef } from './run-parts.ts';

const DatasetColumnRef = builder.objectRef<datasets.DatasetColumn>('DatasetColumn').implement({
  description: 'A column of a dataset.',
  auth: { scopes: [['pipeline:read']] },
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Its name.' }),
    type: t.exposeString('type', { nullable: false, description: 'Its type in PostgreSQL.' }),
  }),
});

const DatasetRowRef = builder.objectRef<datasets.DatasetPreview['rows'][number]>('DatasetRow').implement({
  description: 'A record of a dataset.',
  auth: { scopes: [['data:read']] },
  fields: (t) => ({
    recordNo: t.expose('recordNo', {
      type: 'BigInt',
      nullable: false,
      description: 'Its number in the source, as `_flux_record` has it.',
    }),
    values: t.expose('values', {
      type: ['String'],
      nullable: { list: false, items: true },
      description: 'As PostgreSQL writes them, in the order of the dataset’s columns.',
    }),
  }),
});

const DatasetPreviewRef = builder.objectRef<datasets.DatasetPreview>('DatasetPreview').implement({
  description: 'Some records of a load.',
  auth: { scopes: [['data:read']] },
  fields: (t) => ({
    loadNo: t.expose('loadNo', { type: 'BigInt', description: 'The load; null while none is published.' }),
    rows: t.expose('rows', { type: [DatasetRowRef], nullable: false, description: 'By their number in the source.' }),
    cut: t.exposeBoolean('cut', {
      nullable: false,
      description: 'A value was cut after 256 characters, or rows were left out because they are large.',
    }),
  }),
});

const LoadPageRef = builder.connectionObject({ type: LoadRef, name: 'LoadConnection' }, { name: 'LoadEdge' });

const DatasetRef = builder.objectRef<datasets.Dataset>('Dataset');

builder.node(DatasetRef, {
  description:
    'A table of the agency’s lake. It is there for those who may see a run that has written to it; what it counts and shows are the loads that they may see.',
  auth: { scopes: [['pipeline:read']] },
  id: { resolve: ({ name }) => name },
  loadOne: (name, ctx) => datasets.dataset(ctx, name),
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'The name of the table.' }),
    columns: t.expose('columns', { type: [DatasetColumnRef], nullable: false, description: 'In their order.' }),
    loadCount: t.exposeInt('loadCount', { nullable: false, description: 'Published loads.' }),
    recordCount: t.expose('recordCount', {
      type: 'BigInt',
      nullable: false,
      description: 'Records that stand in them: by the loads’ own counts, without what later merges have replaced.',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When a run first opened it.' }),
    publishedAt: t.expose('publishedAt', {
      type: 'DateTime',
      description: 'When its newest load became visible; null while there is none.',
    }),
    packagePath: t.string({
      auth: { scopes: [['data:read']] },
      description:
        'Where all of it is downloaded as a Frictionless Data Package, a ZIP archive: a path of this API, asked for with the same token.',
      resolve: ({ name }) => `/v1/datasets/${name}/package`,
    }),
    loads: t.field({
      type: LoadPageRef,
      auth: { scopes: [['run:read']] },
      description: 'What runs have written to it, the newest first; also what is not visible yet, or not any more.',
      args: pageArgs(t.arg),
      resolve: (dataset, args, ctx) => datasets.loadsOf(ctx, dataset, args),
    }),
    preview: t.field({
      type: DatasetPreviewRef,
      auth: { scopes: [['data:read']] },
      description:
        'Some records of one load. Read from the lake with the agency’s own login, so it counts as 20 objects.',
      extensions: { cost: 20 },
      args: {
        load: t.arg({ type: 'BigInt', description: 'The number of a published load; the newest if absent.' }),
        first: t.arg.int({ description: 'How many, 1 to 100; 20 if absent.' }),
      },
      resolve: (dataset, args, ctx) => datasets.previewOf(ctx, dataset, args),
    }),
  }),
});

const DatasetPageRef = builder.connectionObject(
  { type: DatasetRef, name: 'DatasetConnection' },
  { name: 'DatasetEdge' },
);

builder.queryFields((t) => ({
  dataset: t.field({
    type: DatasetRef,
    auth: { scopes: [['pipeline:read']] },
    description: 'A dataset of the agency’s lake; null when there is none of that name.',
    args: { name: t.arg.string({ required: true, description: 'Its name.' }) },
    resolve: (_root, { name }, ctx) => datasets.dataset(ctx, name),
  }),
  datasets: t.field({
    type: DatasetPageRef,
    nullable: false,
    auth: { scopes: [['pipeline:read']] },
    description: 'The datasets of the agency’s lake, by name.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => datasets.datasets(ctx, args),
  }),
}));
