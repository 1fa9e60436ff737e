/**
 * What this process has done and is doing, for Prometheus. Names and units follow its conventions: base units, `_total` for
 * counters. A label's values are a fixed list: never an agency, a run, a user or a path that a caller chose.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export const registry = new Registry();
const registers = [registry];
collectDefaultMetrics({ register: registry });

const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []): Counter<Label> =>
  new Counter({ name, help, labelNames: [...labelNames], registers });

export const metrics = {
  requests: counter('flux_requests_total', 'HTTP requests answered by the API.', ['method', 'route', 'status']),
  requestSeconds: new Histogram({
    name: 'flux_request_duration_seconds',
    help: 'Time until an HTTP request was answered in full; event streams are left out.',
    labelNames: ['method', 'route'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  }),
  errors: counter('flux_errors_total', 'Failures: told to clients by the API, met by partitions in a worker.', [
    'class',
  ]),
  isolationViolations: counter('flux_isolation_violations_total', 'Attempts to reach another agency, all refused.'),
  runs: counter('flux_runs_total', 'Runs that this worker ended.', ['status']),
  records: counter('flux_records_total', 'Records of committed batches.', ['result']),
  checkpointsSaved: counter('flux_checkpoints_saved_total', 'Batches with their checkpoint: committed or not.', [
    'success',
  ]),
  checkpointBytes: new Histogram({
    name: 'flux_checkpoint_size_bytes',
    help: 'Size of a saved checkpoint.',
    buckets: [512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536, 262_144],
    registers,
  }),
  leaseTakeovers: counter('flux_lease_takeovers_total', 'Partitions taken from a holder whose lease had run out.'),
  deliverySeconds: new Histogram({
    name: 'flux_event_delivery_lag_seconds',
    help: 'From the writing of an event to its delivery to a reader who waited for it.',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  }),
  streamExecutions: counter(
    'flux_stream_executions_total',
    'Results of shared streams that were executed and serialised.',
  ),
  streamDeliveries: counter('flux_stream_deliveries_total', 'Results of shared streams that were sent to subscribers.'),
  untrustedDocuments: counter('flux_untrusted_documents_total', 'Documents that no manifest of trusted ones has.'),
  hintsUnsent: counter('flux_hints_unsent_total', 'Hints that were dropped because Redis was away.'),
  notificationsMissed: counter(
    'flux_notifications_missed_total',
    'Events and changed runs that a poll found and no hint had told.',
  ),
};

// A series that appears with its first failure cannot show the increase from none to one.
const errorClasses = 'VALIDATION TRANSIENT TERMINAL DATA_ISOLATION CHECKPOINT AUTHENTICATION AUTHORIZATION'.split(' ');
for (const name of errorClasses) metrics.errors.inc({ class: name }, 0);
for (const status of ['COMPLETED', 'FAILED', 'CANCELLED']) metrics.runs.inc({ status }, 0);
for (const result of ['read', 'written', 'rejected', 'filtered']) metrics.records.inc({ result }, 0);
for (const success of ['true', 'false']) metrics.checkpointsSaved.inc({ success }, 0);

const counted = new WeakSet<object>();

/** Counts a failure, once however often it is told: one that many fields wait for fails each of them. */
export function countFailure(failure: { class: string }): void {
  if (counted.has(failure)) return;
  counted.add(failure);
  metrics.errors.inc({ class: failure.class });
  if (failure.class === 'DATA_ISOLATION') metrics.isolationViolations.inc();
}

const pools = new Map<string, { stats(): { total: number; idle: number; waiting: number } }>();

/** Shows a pool's connections, and who waits for one, at every scrape. */
export function watchPool(
  name: 'api' | 'worker',
  pool: { stats(): { total: number; idle: number; waiting: number } },
): void {
  pools.set(name, pool);
}

new Gauge({
  name: 'flux_pool_connections',
  help: 'Connections to the database.',
  labelNames: ['pool', 'state'],
  registers,
  collect() {
    for (const [pool, { stats }] of pools) {
      const { total, idle } = stats();
      this.set({ pool, state: 'idle' }, idle);
      this.set({ pool, state: 'used' }, total - idle);
    }
  },
});
new Gauge({
  name: 'flux_pool_waiting',
  help: 'Requests that wait for a connection.',
  labelNames: ['pool'],
  registers,
  collect() {
    for (const [pool, { stats }] of pools) this.set({ pool }, stats().waiting);
  },
});

const watched = {
  queueDepth: ['flux_queue_depth', 'Partitions that a worker could take now, of the whole installation.'],
  queueAgeSeconds: ['flux_queue_age_seconds', 'Age of the oldest partition that waits.'],
  executing: ['flux_partitions_executing', 'Partitions that workers hold, of the whole installation.'],
  activeRuns: ['flux_active_runs', 'Runs that are not over, of the whole installation.'],
  auditSealLagSeconds: ['flux_audit_seal_lag_seconds', 'Age of the oldest audit entry that is not sealed.'],
} as const;

/**
 * Asks the database at every scrape. While it does not answer these series are absent: an old number would be a lie.
 * Every API process shows the same values; take the max of them, not the sum.
 */
export function watchOperations(read: () => Promise<Record<keyof typeof watched, number>>): void {
  type Counts = Record<keyof typeof watched, number> | undefined;
  let asked: Promise<Counts> | undefined;
  const once = (): Promise<Counts> =>
    (asked ??= read()
      .catch(() => undefined)
      .finally(() => setImmediate(() => (asked = undefined))));
  for (const [key, [name, help]] of Object.entries(watched)) {
    registry.removeSingleMetric(name);
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const counts = await once();
        if (counts) this.set(counts[key as keyof typeof watched]);
        else this.remove();
      },
    });
  }
}
