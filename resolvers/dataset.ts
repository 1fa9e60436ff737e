import { type Dataset, listDatasets, listLoadsOf, readDataset } from '../src/db/datasets-read.ts';
import type { LoadOfRun } from '../src/db/step-counts-read.ts';
import { type DatasetPreview, previewDataset } from '../src/domain/preview-dataset.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';

export type { Dataset } from '../src/db/datasets-read.ts';
export type { DatasetColumn } from '../src/db/loads.ts';
export type { DatasetPreview } from '../src/domain/preview-dataset.ts';

export function dataset(ctx: Context, name: string): Promise<Dataset | null> {
  return read(ctx, (tx) => readDataset(tx, name));
}

export function datasets(ctx: Context, args: PageArgs): Promise<Page<Dataset>> {
  return pageOf(ctx, 'datasets', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listDatasets(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ name }) => [name],
  });
}

export function loadsOf(ctx: Context, { name }: Dataset, args: PageArgs): Promise<Page<LoadOfRun>> {
  return pageOf(ctx, `loads:${name}`, args, {
    read: (position, limit, backward) => {
      const after = position && BigInt(position[0] ?? 0);
      return read(ctx, (tx) => listLoadsOf(tx, { dataset: name, after, limit, backward }));
    },
    positionOf: ({ loadNo }) => [String(loadNo)],
  });
}

export function previewOf(
  ctx: Context,
  of: Dataset,
  { load, first }: { load?: bigint | null | undefined; first?: number | null | undefined },
): Promise<DatasetPreview> {
  return previewDataset(ctx.api, (work) => read(ctx, work), {
    agency: ctx.principal.agency,
    dataset: of,
    loadNo: load ?? null,
    first: first ?? null,
    signal: ctx.signal,
  });
}
