import { Calls, restCall } from '../../components/calls.tsx';
import { Page } from '../../components/page.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { Versions } from '../../components/versions.tsx';
import { moment, words } from '../../format.ts';
import { Link, useQuery } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { DocumentView } from '../document-view.tsx';
import { StartBackfill } from './backfill.tsx';
import { Launch } from './launch.tsx';

/** What the agency runs; one pipeline with its definition, and the form that starts it. */
export default function PipelinesPage({ id: name }: { id: string }) {
  return name === '' ? <AllPipelines /> : <OnePipeline name={name} />;
}

function AllPipelines() {
  const { flux } = useSession();
  const { data, error } = useLoad('pipelines', (signal) => flux.api.pipelines({ first: 200 }, { signal }));
  return (
    <Page title="Pipelines">
      <Problem error={error} />
      {data && (
        <Table
          caption="Pipelines"
          rows={data.edges.map(({ node }) => node)}
          keyOf={({ id }) => id}
          empty="No pipeline is registered: flux pipelines register FILE."
          columns={[
            { title: 'Pipeline', cell: ({ name }) => <Link href={`/pipelines/${name}`}>{name}</Link> },
            { title: 'Title', cell: ({ title }) => title },
            { title: 'Version', numeric: true, cell: ({ version }) => String(version) },
            { title: 'State', cell: ({ enabled }) => <Status value={enabled ? 'ACTIVE' : 'PAUSED'} /> },
            { title: 'Content', cell: ({ contentType }) => words(contentType) },
            { title: 'Use case', cell: ({ useCase }) => words(useCase) },
            { title: 'Classification', cell: ({ classification }) => classification },
            { title: 'Registered', cell: ({ createdAt }) => moment(createdAt) },
          ]}
        />
      )}
      <Calls
        cli="flux pipelines list"
        sdk="await flux.api.pipelines({ first: 200 });"
        curl={restCall('/pipelines?first=200')}
      />
    </Page>
  );
}

function OnePipeline({ name }: { name: string }) {
  const { flux, may } = useSession();
  const [query, change] = useQuery();
  const wanted = query.get('version');
  const { data, error } = useLoad(`${name} ${wanted ?? ''}`, async (signal) => {
    const [pipeline, newest] = await Promise.all([
      flux.api.pipeline({ name, version: wanted === null ? null : Number(wanted) }, { signal }),
      flux.api.pipeline({ name }, { signal }),
    ]);
    const before =
      pipeline && pipeline.version > 1
        ? await flux.api.pipeline({ name, version: pipeline.version - 1 }, { signal })
        : null;
    return { pipeline, before, newest: newest?.version ?? 1 };
  });
  const pipeline = data?.pipeline;
  return (
    <Page title={`Pipeline ${name}`} aside={<Link href={`/runs?pipeline=${encodeURIComponent(name)}`}>Its runs</Link>}>
      <Problem error={error} />
      {data && !pipeline && <p>There is no such pipeline.</p>}
      {pipeline && (
        <>
          <p>
            {pipeline.title}. Version {pipeline.version}, registered {moment(pipeline.createdAt)} by{' '}
            {pipeline.createdBy}.
            {pipeline.contract && (
              <>
                {' '}
                Contract{' '}
                <Link href={`/contracts/${pipeline.contract.name}?version=${String(pipeline.contract.version)}`}>
                  {pipeline.contract.name} v{pipeline.contract.version}
                </Link>
                .
              </>
            )}
            {pipeline.connection && ` Source: connection ${pipeline.connection.name}.`}
          </p>
          <Versions newest={data.newest} shown={pipeline.version} onShow={(version) => change({ version })} />
          {!may('run:write') && <p>Starting it needs run:write.</p>}
          {may('run:write') &&
            (pipeline.version === data.newest ? (
              <>
                <Launch pipeline={name} />
                <StartBackfill pipeline={name} definition={pipeline.definition} />
              </>
            ) : (
              <p>A start runs version {data.newest}; show it to start it.</p>
            ))}
          {data.before && (
            <DocumentView
              title={`What changed from version ${String(data.before.version)}`}
              document={pipeline.definition}
              before={data.before.definition}
            />
          )}
          <DocumentView title={`Definition, version ${String(pipeline.version)}`} document={pipeline.definition} />
        </>
      )}
    </Page>
  );
}
