import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { Table } from '../../components/table.tsx';
import { useLoad } from '../../use-load.ts';

/** What `/health/deep` says to anyone: the installation's own health, of no agency. */
interface DeepHealth {
  status: string;
  checks: Readonly<Record<string, { status: 'ok' | 'failed'; ms: number }>>;
  numbers: Readonly<Record<string, number | null>> | null;
}

/** Whether the installation is well: what the API needs, and how long the queue of all agencies is. */
export function Health({ round }: { round: number }) {
  const { data, error } = useLoad(`health ${String(round)}`, async (signal) => {
    const response = await fetch('/health/deep', { signal });
    // 503 is an answer too: it says what is not well.
    return (await response.json()) as DeepHealth;
  });
  return (
    <section aria-labelledby="health-title">
      <h2 id="health-title">Health</h2>
      <Problem error={error} title="The health could not be read" />
      {data && (
        <>
          <p>
            <Status value={data.status === 'ok' ? 'WELL' : data.status === 'degraded' ? 'DEGRADED' : 'FAILED'} />
          </p>
          <Table
            caption="What the installation needs, and its queue"
            rows={[
              ...Object.entries(data.checks).map(([name, found]) => ({ name, found: checkOf(found) })),
              ...Object.entries(data.numbers ?? {}).map(([name, found]) => ({
                name,
                found: found === null ? 'not known' : String(Math.round(found * 100) / 100),
              })),
            ]}
            keyOf={({ name }) => name}
            columns={[
              { title: 'What', cell: ({ name }) => spaced(name) },
              { title: 'State', cell: ({ found }) => found },
            ]}
          />
        </>
      )}
    </section>
  );
}

function checkOf({ status, ms }: DeepHealth['checks'][string]): string {
  return `${status === 'ok' ? 'well' : 'not well'}, ${String(Math.round(ms))} ms`;
}

function spaced(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
