import { everyPage, type VerifyAuditLogQuery } from '@flux-etl/sdk';
import { useState } from 'react';

import { Calls, restCall } from '../components/calls.tsx';
import { Icon } from '../components/icon.tsx';
import { Page } from '../components/page.tsx';
import { Problem } from '../components/problem.tsx';
import { Table } from '../components/table.tsx';
import { count, download, moment } from '../format.ts';
import { useQuery } from '../router.tsx';
import { useLoad } from '../use-load.ts';
import { useSession } from '../use-session.ts';
import { auditCsv, type Entry } from './audit-csv.ts';

const pageSize = 50;

/** The agency's sealed log: search, export, and the proof that nobody changed it. */
export default function AuditPage() {
  const { flux } = useSession();
  const [query, change] = useQuery();
  const [before, setBefore] = useState<string[]>([]);
  const [exporting, setExporting] = useState(false);
  const [exportError, setExportError] = useState<unknown>(null);
  const [note, setNote] = useState('');
  const filter = filterOf(query);
  const { data, error, loading } = useLoad(`${JSON.stringify(filter)} ${before.at(-1) ?? ''}`, (signal) =>
    flux.api.auditEntries({ filter, last: pageSize, before: before.at(-1) ?? null }, { signal }),
  );
  const set = (name: string, value: string): void => {
    setBefore([]);
    change({ [name]: value });
  };
  const exportAll = async (): Promise<void> => {
    setExporting(true);
    setExportError(null);
    setNote('Reading the entries …');
    try {
      const entries = everyPage((next) => flux.api.auditEntries({ filter, first: 200, after: next }));
      const { content, lines } = await auditCsv(entries, (read) => setNote(`${count(read)} entries read …`));
      download('audit.csv', content, 'text/csv');
      setNote(`${count(lines)} entries exported.`);
    } catch (cause) {
      setNote('');
      setExportError(cause);
    } finally {
      setExporting(false);
    }
  };
  return (
    <Page title="Audit">
      <Verification />
      <form className="filters" role="search" aria-label="Filter entries" onSubmit={(event) => event.preventDefault()}>
        {fields.map(({ name, title }) => (
          <div key={name}>
            <label className="usa-label" htmlFor={name}>
              {title}
            </label>
            <input
              className="usa-input"
              id={name}
              type="search"
              placeholder="exactly"
              defaultValue={query.get(name) ?? ''}
              onChange={(event) => set(name, event.target.value.trim())}
            />
          </div>
        ))}
        <div>
          <label className="usa-label" htmlFor="success">
            Outcome
          </label>
          <select
            className="usa-select"
            id="success"
            value={query.get('success') ?? ''}
            onChange={(event) => set('success', event.target.value)}
          >
            <option value="">all</option>
            <option value="true">done</option>
            <option value="false">refused or failed</option>
          </select>
        </div>
      </form>
      <Problem error={error} title="The log could not be read" />
      {loading && !data && <p className="loading">Loading …</p>}
      {data && (
        <Table
          caption="Sealed entries, the newest first"
          rows={data.edges.map(({ node }) => node).reverse()}
          keyOf={({ id }) => id}
          empty="No sealed entry fits."
          columns={[
            { title: 'No.', cell: ({ seq }) => count(seq) },
            { title: 'At', cell: ({ at }) => moment(at) },
            { title: 'Who', cell: (entry) => whoOf(entry) },
            { title: 'Action', cell: ({ action }) => action },
            { title: 'Of', cell: ({ resourceType, resourceId }) => `${resourceType} ${resourceId ?? ''}` },
            {
              title: 'Outcome',
              cell: ({ success, errorCode }) => (
                <span className={success ? 'status status--good' : 'status status--bad'}>
                  <Icon name={success ? 'check' : 'cross'} />
                  {success ? 'done' : (errorCode ?? 'refused')}
                </span>
              ),
            },
            { title: 'Reason', cell: ({ reason }) => reason ?? '' },
            { title: 'Leaf', cell: ({ leafHash }) => <code title={leafHash}>{leafHash.slice(0, 10)}…</code> },
          ]}
        />
      )}
      <div className="pager">
        <button
          type="button"
          className="usa-button usa-button--outline"
          disabled={before.length === 0}
          onClick={() => setBefore((pages) => pages.slice(0, -1))}
        >
          Newer
        </button>
        <button
          type="button"
          className="usa-button usa-button--outline"
          disabled={data?.pageInfo.hasPreviousPage !== true}
          onClick={() => setBefore((pages) => [...pages, data?.pageInfo.startCursor ?? ''])}
        >
          Older
        </button>
        <button
          type="button"
          className="usa-button usa-button--outline"
          disabled={exporting}
          onClick={() => void exportAll()}
        >
          Export as CSV
        </button>
        <span role="status">{note}</span>
      </div>
      <Problem error={exportError} title="The log could not be exported" />
      <Calls
        cli="flux audit verify"
        sdk={`await flux.api.auditEntries(${JSON.stringify({ filter, last: pageSize })});\nawait flux.api.verifyAuditLog();`}
        curl={`${restCall(`/audit-entries?${new URLSearchParams({ ...texts(filter), last: String(pageSize) }).toString()}`)}\n${restCall('/verify-audit-log')}`}
      />
    </Page>
  );
}

const fields = [
  { name: 'actor', title: 'Who' },
  { name: 'action', title: 'Action' },
  { name: 'resourceId', title: 'Of (id)' },
] as const;

function filterOf(query: URLSearchParams): Readonly<Record<string, string | boolean>> {
  const success = query.get('success');
  const texts = fields.flatMap(({ name }) => {
    const value = query.get(name);
    return value ? [[name, value] as const] : [];
  });
  return { ...Object.fromEntries(texts), ...(success === null ? {} : { success: success === 'true' }) };
}

function texts(filter: Readonly<Record<string, string | boolean>>): Record<string, string> {
  return Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, String(value)]));
}

function whoOf({ actor, role }: Entry): string {
  return role ? `${actor} (${role.toLowerCase()})` : actor;
}

type Verified = VerifyAuditLogQuery['verifyAuditLog'];

/** Hashes the whole log anew on the server and says what it found, with the root that an auditor can compare. */
function Verification() {
  const { flux } = useSession();
  const [found, setFound] = useState<Verified | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const verify = (): void => {
    setBusy(true);
    setError(null);
    flux.api
      .verifyAuditLog()
      .then(setFound, setError)
      .finally(() => setBusy(false));
  };
  return (
    <section aria-label="Verification" className="verification">
      <button type="button" className="usa-button" disabled={busy} onClick={verify}>
        {busy ? 'Verifying …' : 'Verify the log'}
      </button>
      <div role="status">
        {found && (
          <>
            <p className={found.holds ? 'status status--good' : 'status status--bad'}>
              <Icon name={found.holds ? 'check' : 'cross'} />
              {found.holds ? 'The log holds' : `The log does not hold, from entry ${found.firstBadSeq ?? '?'}`}
            </p>
            <p>
              {count(found.entries)} entries hashed anew; the signed checkpoint covers {count(found.signedSize)}. Root{' '}
              <code className="raw">{found.root}</code>
            </p>
          </>
        )}
      </div>
      {found?.problems.map(({ seq, message }) => (
        <p key={`${seq ?? ''} ${message}`}>{message}</p>
      ))}
      {found?.checkpoint && (
        <details>
          <summary>Signed checkpoint</summary>
          <pre tabIndex={0}>{found.checkpoint}</pre>
        </details>
      )}
      <Problem error={error} title="The log could not be verified" />
    </section>
  );
}
