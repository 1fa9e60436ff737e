import { Fact } from '../../components/fact.tsx';
import { Problem } from '../../components/problem.tsx';
import { Status } from '../../components/status.tsx';
import { useLoad } from '../../use-load.ts';

/** What `/health/deep` says to anyone: the installation's own health, of no agency. */
interface DeepHealth {
  status: string;
  checks: Readonly<Record<string, { status: 'ok' | 'failed'; ms: number }>>;
  numbers: Readonly<Record<string, number | null>> | null;
}

/** Whether the installation is well: what the API needs, and how long the queue of all agencies is. */
export function Health({ round }: { round: number }) {
  const ask = async (signal: AbortSignal): Promise<DeepHealth> => {
    const response = await fetch('/health/deep', { signal });
    // 503 is an answer too: it says what is not well.
    return (await response.json()) as DeepHealth;
  };
  const { data, error } = useLoad('health', ask, String(round));
  return (
    <section className="health" aria-labelledby="health-title">
      <h2 id="health-title">Health</h2>
      <Problem error={error} title="The health could not be read" />
      {data ? (
        <>
          <p>
            <Status value={data.status === 'ok' ? 'WELL' : data.status === 'degraded' ? 'DEGRADED' : 'FAILED'} />
          </p>
          <dl className="facts">
            {Object.entries(data.checks).map(([name, found]) => (
              <Fact key={name} name={spaced(name)} value={checkOf(found)} />
            ))}
            {Object.entries(data.numbers ?? {}).map(([name, found]) => (
              <Fact
                key={name}
                name={spaced(name)}
                value={found === null ? 'not known' : String(Math.round(found * 100) / 100)}
              />
            ))}
          </dl>
        </>
      ) : (
        <p className="loading">Loading …</p>
      )}
    </section>
  );
}

function checkOf({ status, ms }: DeepHealth['checks'][string]): string {
  return `${status === 'ok' ? 'well' : 'not well'}, ${String(Math.round(ms))} ms`;
}

function spaced(name: string): string {
  const text = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
