import type { DatasetQuery } from '@flux-etl/sdk';
import { useState } from 'react';

import { Calls, restCall } from '../components/calls.tsx';
import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { Status } from '../components/status.tsx';
import { Table } from '../components/table.tsx';
import { csv } from '../csv.ts';
import { count, download, moment } from '../format.ts';
import { Link, useQuery } from '../router.tsx';
import { useLoad } from '../use-load.ts';
import { useSession } from '../use-session.ts';
import { PackageDownload } from './package-download.tsx';
import { Pager } from './run/checkpoints.tsx';

type Dataset = NonNullable<DatasetQuery['dataset']>;
type Column = Dataset['columns'][number];

const pageSize = 20;
const previewRecords = 50;

/** What runs have left in the agency's lake. */
export default function DataPage({ id: name }: { id: string }) {
  return name === '' ? <AllDatasets /> : <OneDataset name={name} />;
}

function AllDatasets() {
  const { flux } = useSession();
  const [after, setAfter] = useState<string[]>([]);
  const { data, error, loading } = useLoad(`datasets ${after.at(-1) ?? ''}`, (signal) =>
    flux.api.datasets({ first: 50, after: after.at(-1) ?? null }, { signal }),
  );
  return (
    <Page title="Data">
      <Problem error={error} title="The datasets could not be read" />
      {loading && <p className="loading">Loading …</p>}
      {data && (
        <Table
          caption="Datasets"
          rows={data.edges.map(({ node }) => node)}
          keyOf={({ id }) => id}
          empty="No run has written to the lake yet."
          columns={[
            { title: 'Dataset', cell: (dataset) => <Link href={`/data/${dataset.name}`}>{dataset.name}</Link> },
            { title: 'Records', numeric: true, cell: ({ recordCount }) => count(recordCount) },
            { title: 'Loads', numeric: true, cell: ({ loadCount }) => count(loadCount) },
            { title: 'Newest load', cell: ({ publishedAt }) => moment(publishedAt) },
            { title: 'Since', cell: ({ createdAt }) => moment(createdAt) },
          ]}
        />
      )}
      <Pager
        hasNext={data?.pageInfo.hasNextPage === true}
        hasPrevious={after.length > 0}
        onNext={() => setAfter((before) => [...before, data?.pageInfo.endCursor ?? ''])}
        onPrevious={() => setAfter((before) => before.slice(0, -1))}
      />
      <Calls sdk="await flux.api.datasets({ first: 50 });" curl={restCall('/datasets?first=50')} />
    </Page>
  );
}

function OneDataset({ name }: { name: string }) {
  const { flux } = useSession();
  const [after, setAfter] = useState<string[]>([]);
  const { data: dataset, error } = useLoad(`${name} ${after.at(-1) ?? ''}`, (signal) =>
    flux.api.dataset({ name, first: pageSize, after: after.at(-1) ?? null }, { signal }),
  );
  return (
    <Page title={`Dataset ${name}`}>
      <Problem error={error} title="The dataset could not be read" />
      {dataset === null && <p>There is no such dataset, or none that you may see.</p>}
      {dataset && (
        <>
          <p>
            {count(dataset.recordCount)} records of {count(dataset.loadCount)} published{' '}
            {dataset.loadCount === 1 ? 'load' : 'loads'}, the newest visible since {moment(dataset.publishedAt)}.
          </p>
          <PackageDownload dataset={name} />
          <h2>Columns</h2>
          <Table
            caption="Columns"
            rows={dataset.columns}
            keyOf={(column) => column.name}
            columns={[
              { title: 'Column', cell: (column) => column.name },
              { title: 'Type', cell: ({ type }) => type },
            ]}
          />
          <Preview dataset={dataset} />
          <h2>Loads</h2>
          <Loads dataset={dataset} />
          <Pager
            hasNext={dataset.loads?.pageInfo.hasNextPage === true}
            hasPrevious={after.length > 0}
            onNext={() => setAfter((before) => [...before, dataset.loads?.pageInfo.endCursor ?? ''])}
            onPrevious={() => setAfter((before) => before.slice(0, -1))}
          />
        </>
      )}
      <Calls
        cli={`flux datasets package ${name}`}
        sdk={`await flux.api.dataset({ name: '${name}', preview: true });`}
        curl={restCall(`/dataset/${name}`)}
      />
    </Page>
  );
}

function Loads({ dataset }: { dataset: Dataset }) {
  const [query, change] = useQuery();
  const shown = query.get('load');
  return (
    <Table
      caption="Loads, the newest first"
      rows={dataset.loads?.edges.map(({ node }) => node) ?? []}
      keyOf={({ loadNo }) => loadNo}
      empty="There is none."
      columns={[
        { title: 'Load', cell: ({ loadNo }) => loadNo },
        { title: 'Status', cell: ({ status }) => <Status value={status} /> },
        { title: 'Mode', cell: ({ mode }) => mode },
        { title: 'Records', numeric: true, cell: ({ recordCount }) => count(recordCount) },
        { title: 'Replaced since', numeric: true, cell: ({ replacedCount }) => count(replacedCount) },
        { title: 'Visible since', cell: ({ publishedAt }) => moment(publishedAt) },
        { title: 'Run', cell: ({ runId }) => <Link href={`/runs/${runId}`}>{runId}</Link> },
        {
          title: 'Preview',
          cell: ({ loadNo, status }) =>
            status === 'PUBLISHED' ? (
              <button
                type="button"
                className="usa-button usa-button--unstyled"
                aria-pressed={shown === loadNo}
                onClick={() => change({ load: loadNo })}
              >
                Show<span className="usa-sr-only"> records of load {loadNo}</span>
              </button>
            ) : (
              '–'
            ),
        },
      ]}
    />
  );
}

/** Some records of the newest load, or of the one in the address, for those who may read data. */
function Preview({ dataset }: { dataset: Dataset }) {
  const { flux, may } = useSession();
  const [query] = useQuery();
  const load = query.get('load');
  const allowed = may('data:read');
  const { name } = dataset;
  const { data, error, loading } = useLoad(`${name} ${load ?? ''} ${String(allowed)}`, async (signal) => {
    if (!allowed) return null;
    const found = await flux.api.dataset({ name, first: 1, preview: true, load, records: previewRecords }, { signal });
    return found?.preview ?? null;
  });
  const save = (): void => {
    const rows = data?.rows.map(({ recordNo, values }) => [recordNo, ...values.map((value) => value ?? '')]) ?? [];
    download(
      `${name}-preview.csv`,
      csv([['_flux_record', ...dataset.columns.map((one) => one.name)], ...rows]),
      'text/csv',
    );
  };
  return (
    <section aria-labelledby="preview-title">
      <h2 id="preview-title">Records</h2>
      {!allowed && <p>Records are shown to roles with data:read.</p>}
      {allowed && loading && <p className="loading">Loading …</p>}
      <Problem error={error} title="The records could not be read" />
      {data && data.loadNo === null && <p>No load is published yet.</p>}
      {data && data.loadNo !== null && (
        <>
          <p>
            The first {String(data.rows.length)} records of load {data.loadNo}
            {data.cut ? '; long values are cut' : ''}.{' '}
            <button type="button" className="usa-button usa-button--unstyled" onClick={save}>
              Download these as CSV
            </button>
          </p>
          <Table
            caption={`Records of load ${data.loadNo}`}
            rows={data.rows}
            keyOf={({ recordNo }) => recordNo}
            empty="It holds none."
            columns={[
              { title: '_flux_record', numeric: true, cell: ({ recordNo }) => count(recordNo) },
              ...dataset.columns.map((column, at) => ({
                title: column.name,
                numeric: isNumber(column),
                cell: ({ values }: { values: readonly (string | null)[] }) => <Value text={values[at]} />,
              })),
            ]}
          />
        </>
      )}
    </section>
  );
}

/** No value and an empty text must not look the same. */
function Value({ text }: { text: string | null | undefined }) {
  return text === null || text === undefined ? <span className="null">null</span> : text;
}

function isNumber({ type }: Column): boolean {
  return ['bigint', 'double precision', 'numeric'].includes(type);
}
