import { buildDashboard } from './dashboard.ts';

/** Vitest's global setup: the dashboard as it stands in this checkout, built once and not by each file that is the first to want it. */
export default function setup(): void {
  buildDashboard();
}
