import type { Campaign } from './campaign.ts';
import {
  blockEventLoop,
  cancelUnderFire,
  damageCheckpoints,
  endBackends,
  freezePastTheLease,
  jumpClocks,
  killAtFailpoints,
  killAtRandom,
} from './process-scenarios.ts';
import { badNetwork, fullHeap, fullObjectStore, loseCommits, restartServer } from './system-scenarios.ts';

export interface Scenario {
  name: string;
  /** @returns what went otherwise than it must, in words */
  run(campaign: Campaign): Promise<string[]>;
  /** Whether a campaign may have it more than once. */
  once?: boolean;
}

const nothing = async (work: Promise<unknown>): Promise<string[]> => {
  await work;
  return [];
};

const skippable = async (work: Promise<string | null>, told: (why: string) => void): Promise<string[]> => {
  const why = await work;
  if (why !== null) told(why);
  return [];
};

/** In this order in the tests; `npm run chaos -- --minutes N` goes round. @param skip is told why something cannot be done here */
export function scenariosOf(skip: (why: string) => void): readonly Scenario[] {
  return [
    {
      name: 'a worker is killed at every failpoint, before and after it',
      run: async (campaign) => (await killAtFailpoints(campaign)).map((point) => `failpoint never reached: ${point}`),
    },
    { name: 'workers are killed at random', run: (campaign) => nothing(killAtRandom(campaign, 12)) },
    { name: 'workers freeze past their lease, in a batch and inside COPY', run: freezePastTheLease },
    { name: 'the server is killed and restarted under load', run: (campaign) => nothing(restartServer(campaign, 3)) },
    { name: 'backends are ended', run: (campaign) => nothing(endBackends(campaign, 6)) },
    { name: 'replies to COMMITs are lost', run: (campaign) => loseCommits(campaign, 4) },
    { name: 'the network is slow, torn, reset and silent', run: badNetwork },
    { name: 'event loops stand still', run: (campaign) => nothing(blockEventLoop(campaign)) },
    { name: 'clocks jump', run: jumpClocks },
    { name: 'checkpoints are damaged', run: damageCheckpoints },
    { name: 'runs are cancelled under fire', run: cancelUnderFire },
    { name: 'the heap’s disk is full', run: (campaign) => skippable(fullHeap(campaign), skip), once: true },
    {
      name: 'the object store’s disk is full',
      run: (campaign) => skippable(fullObjectStore(campaign), skip),
      once: true,
    },
  ];
}
