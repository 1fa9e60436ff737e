import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { Table } from '../components/table.tsx';
import { moment } from '../format.ts';
import { Link, useQuery } from '../router.tsx';
import { useLoad } from '../use-load.ts';
import { useSession } from '../use-session.ts';
import { DocumentView } from './document-view.tsx';

/** What every record of a source must meet: all versions, and what changed from one to the next. */
export default function ContractsPage({ id: name }: { id: string }) {
  return name === '' ? <AllContracts /> : <OneContract name={name} />;
}

function AllContracts() {
  const { flux } = useSession();
  const { data, error } = useLoad('contracts', (signal) => flux.api.contracts({ first: 200 }, { signal }));
  return (
    <Page title="Contracts">
      <Problem error={error} />
      {data && (
        <Table
          caption="Contracts, every version"
          rows={data.edges.map(({ node }) => node)}
          keyOf={({ id }) => id}
          empty="No contract is registered."
          columns={[
            {
              title: 'Contract',
              cell: ({ name, version }) => (
                <Link href={`/contracts/${name}?version=${String(version)}`}>
                  {name} v{version}
                </Link>
              ),
            },
            { title: 'Registered', cell: ({ createdAt }) => moment(createdAt) },
            { title: 'By', cell: ({ createdBy }) => createdBy },
            { title: 'SHA-256', cell: ({ sha256 }) => <code title={sha256}>{sha256.slice(0, 12)}…</code> },
          ]}
        />
      )}
    </Page>
  );
}

function OneContract({ name }: { name: string }) {
  const { flux } = useSession();
  const [query, change] = useQuery();
  const wanted = query.get('version');
  const { data, error } = useLoad(`${name} ${wanted ?? ''}`, async (signal) => {
    const contract = await flux.api.contract({ name, version: wanted === null ? null : Number(wanted) }, { signal });
    const before =
      contract && contract.version > 1
        ? await flux.api.contract({ name, version: contract.version - 1 }, { signal })
        : null;
    return { contract, before };
  });
  const contract = data?.contract;
  return (
    <Page title={`Contract ${name}`}>
      <Problem error={error} />
      {data && !contract && <p>There is no such contract.</p>}
      {contract && (
        <>
          <p>
            Version {contract.version}, registered {moment(contract.createdAt)} by {contract.createdBy}.{' '}
            {contract.version > 1 && (
              <button
                type="button"
                className="usa-button usa-button--unstyled"
                onClick={() => change({ version: String(contract.version - 1) })}
              >
                Version {contract.version - 1}
              </button>
            )}
          </p>
          {data.before && (
            <DocumentView
              title={`What changed from version ${String(data.before.version)}`}
              document={contract.document}
              before={data.before.document}
            />
          )}
          <DocumentView title={`${name} v${String(contract.version)}, JSON Schema`} document={contract.document} />
        </>
      )}
    </Page>
  );
}
