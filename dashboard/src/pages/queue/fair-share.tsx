import { Problem } from '../../components/problem.tsx';
import { useLoad } from '../../use-load.ts';
import { useSession } from '../../use-session.ts';
import { Fact } from '../../components/fact.tsx';

/** What part of the workers is the agency's, and how much of it works now. */
export function FairShare({ executing, round }: { executing: number; round: number }) {
  const { flux } = useSession();
  const { data: agency, error } = useLoad('agency', (signal) => flux.api.agency({}, { signal }), String(round));
  return (
    <section aria-labelledby="share-title">
      <h2 id="share-title">Fair share</h2>
      <Problem error={error} title="The agency could not be read" />
      {agency && (
        <dl className="facts">
          <Fact name="Weight" value={`${String(agency.shareWeight)} (quanta for one of an agency of weight 1)`} />
          <Fact
            name="Partitions at work"
            value={`${String(executing)} of ${agency.executingCap === null ? 'as many as there are workers' : `at most ${String(agency.executingCap)}`}`}
          />
        </dl>
      )}
    </section>
  );
}
