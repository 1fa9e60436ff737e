import type { Run } from '../resolvers/run.ts';
import { builder } from './builder.ts';

/** Apart from its fields (run.ts), so that what belongs to a run can point back at it. */
export const RunRef = builder.objectRef<Run>('Run');
