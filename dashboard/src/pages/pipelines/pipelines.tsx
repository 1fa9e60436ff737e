import { Page } from '../../components/page.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { moment, words } from '../../format.ts';
import { Link } from '../../router.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { DocumentView } from '../document-view.tsx';
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
    </Page>
  );
}

function OnePipeline({ name }: { name: string }) {
  const { flux, may } = useSession();
  const { data, error } = useLoad(name, async (signal) => {
    const pipeline = await flux.api.pipeline({ name }, { signal });
    const before =
      pipeline && pipeline.version > 1
        ? await flux.api.pipeline({ name, version: pipeline.version - 1 }, { signal })
        : null;
    return { pipeline, before };
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
          {may('run:write') ? <Launch pipeline={name} /> : <p>Starting it needs run:write.</p>}
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
