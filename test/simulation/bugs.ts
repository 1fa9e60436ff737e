/**
 * Mistakes that durable engines are known for. Each can be planted in the simulation's own storage or worker, never in the
 * product, and the simulation has to notice every one.
 */
export const plantedBugs = [
  'the fence takes no lock on the lease row',
  'the epoch is not raised at a claim',
  'the checkpoint is saved outside the batch’s transaction',
  'the cursor is off by one after a resume',
  'a batch whose COMMIT was ambiguous is sent again',
  'leases are kept by the workers’ own clocks',
  'an event’s number is count(*) + 1',
  'a subscriber waits for NOTIFY only',
  'a resume reads the source as it is now',
  'a checkpoint’s hash is not looked at',
] as const;
export type PlantedBug = (typeof plantedBugs)[number];
