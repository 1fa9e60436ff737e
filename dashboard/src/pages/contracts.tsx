import type { ContractQuery } from '@flux-etl/sdk';

import { Calls, quoted, restCall } from '../components/calls.tsx';
import { Icon } from '../components/icon.tsx';
import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { Table } from '../components/table.tsx';
import { Versions } from '../components/versions.tsx';
import { moment, words } from '../format.ts';
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
      <Calls
        cli="flux contracts register FILE"
        sdk="await flux.api.contracts({ first: 200 });"
        curl={restCall('/contracts?first=200')}
      />
    </Page>
  );
}

function OneContract({ name }: { name: string }) {
  const { flux } = useSession();
  const [query, change] = useQuery();
  const wanted = query.get('version');
  const { data, error } = useLoad(`${name} ${wanted ?? ''}`, async (signal) => {
    const [contract, newest] = await Promise.all([
      flux.api.contract({ name, version: wanted === null ? null : Number(wanted) }, { signal }),
      flux.api.contract({ name }, { signal }),
    ]);
    const before =
      contract && contract.version > 1
        ? await flux.api.contract({ name, version: contract.version - 1 }, { signal })
        : null;
    return { contract, before, newest: newest?.version ?? 1 };
  });
  const contract = data?.contract;
  return (
    <Page title={`Contract ${name}`}>
      <Problem error={error} />
      {data && !contract && <p>There is no such contract.</p>}
      {contract && (
        <>
          <p>
            Version {contract.version}, registered {moment(contract.createdAt)} by {contract.createdBy}.
          </p>
          <Versions newest={data.newest} shown={contract.version} onShow={(version) => change({ version })} />
          {contract.comparison && <Comparison {...contract.comparison} />}
          {data.before && (
            <DocumentView
              title={`What changed from version ${String(data.before.version)}`}
              document={contract.document}
              before={data.before.document}
            />
          )}
          <DocumentView title={`${name} v${String(contract.version)}, JSON Schema`} document={contract.document} />
          <Calls
            cli={`flux contracts register FILE --name ${quoted(name)}`}
            sdk={`await flux.api.contract({ name: '${name}', version: ${String(contract.version)} });`}
            curl={restCall(`/contract/${name}?version=${String(contract.version)}`)}
          />
        </>
      )}
    </Page>
  );
}

type Compared = NonNullable<NonNullable<ContractQuery['contract']>['comparison']>;

/** Whether what met the version before meets this one, and what it says otherwise. */
function Comparison({ previousVersion, compatible, changes }: Compared) {
  return (
    <>
      <p className={compatible ? 'status status--good' : 'status status--warn'}>
        <Icon name={compatible ? 'check' : 'warning'} />
        {compatible ? 'Compatible' : 'Not compatible'} with version {previousVersion}
      </p>
      <Table
        caption={`Changes since version ${String(previousVersion)}`}
        rows={changes}
        keyOf={({ path, keyword, kind }) => `${path} ${keyword} ${kind}`}
        empty="It says the same."
        columns={[
          { title: 'Path', cell: ({ path }) => <code>{path === '' ? '/' : path}</code> },
          { title: 'Keyword', cell: ({ keyword }) => keyword },
          { title: 'Change', cell: ({ kind }) => words(kind) },
          { title: 'Breaks', cell: ({ breaking }) => (breaking ? 'yes' : 'no') },
          { title: 'What', cell: ({ message }) => message },
        ]}
      />
    </>
  );
}
