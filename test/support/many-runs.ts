import { connectAdmin } from '../../src/db/connect-admin.ts';
import { channels } from '../../src/db/notify.ts';
import { insertRunEvents } from '../../src/db/run-events-append.ts';
import { type Sql, sql } from '../../src/db/sql.ts';

/** A version 7 UUID of a moment, so that ids are in the order of their runs. */
const idAt = (at: Sql): Sql => sql`(
  lpad(to_hex((extract(epoch from ${at}) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
    || 'a' || substr(md5(n::text), 4, 15)
)::uuid`;

type Admin = Awaited<ReturnType<typeof connectAdmin>>;

/** Where the 1,000,000-event run of `addLongRun` failed before it was resumed. */
export const failedAt = 400_000;

/** Fills the tables behind the product's back, from a run that really ran: copies of it are as the API reads them. */
export class ManyRuns {
  readonly #db: Admin;
  readonly #agencyId: string;
  readonly #model: string;

  private constructor(db: Admin, agencyId: string, model: string) {
    this.#db = db;
    this.#agencyId = agencyId;
    this.#model = model;
  }

  /** @param model a completed run of the agency */
  static async of(adminUrl: string, agencyId: string, model: string): Promise<ManyRuns> {
    return new ManyRuns(await connectAdmin(adminUrl, 'flux test many runs'), agencyId, model);
  }

  async end(): Promise<void> {
    await this.#db.end();
  }

  /** Copies of the model, one each minute back from an hour ago, with its partitions and events; one in ten failed. */
  async addFinishedRuns(runs: number): Promise<void> {
    await this.#db.query(
      sql`create temporary table copies (run_id uuid primary key, n int, failed boolean, back interval)`,
    );
    await this.#db.query(sql`
      insert into copies
      select ${idAt(sql`at`)}, n, n % 10 = 0, r.created_at - at
      from flux.runs r, generate_series(1, ${runs}) as n,
        lateral (select date_trunc('second', r.created_at) - interval '1 hour' - n * interval '1 minute' as at) as moment
      where r.agency_id = ${this.#agencyId} and r.run_id = ${this.#model}
    `);
    // In FROM, each copy is made once; as (function(...)).* it would be made anew for each of its columns.
    await this.#db.query(sql`
      insert into flux.runs
      select copy.*
      from flux.runs r, copies c, jsonb_populate_record(r, jsonb_build_object(
        'run_id', c.run_id, 'feed_seq', null, 'created_at', r.created_at - c.back, 'started_at', r.started_at - c.back,
        'finished_at', r.finished_at - c.back + (c.n % 97) * interval '1 second', 'updated_at', r.updated_at - c.back
      ) || case when c.failed
        then '{"status":"FAILED","failure_class":"PERMANENT","failure_code":"SOURCE_NOT_FOUND","failure_message":"The file is gone."}'
        else '{}'::jsonb end) as copy
      where r.agency_id = ${this.#agencyId} and r.run_id = ${this.#model}
    `);
    await this.#db.query(sql`
      insert into flux.run_partitions
      select copy.*
      from flux.run_partitions p, copies c, jsonb_populate_record(p, jsonb_build_object('run_id', c.run_id)) as copy
      where p.agency_id = ${this.#agencyId} and p.run_id = ${this.#model}
    `);
    await this.#db.query(sql`
      insert into flux.run_events
      select copy.*
      from flux.run_events e, copies c, jsonb_populate_record(e,
        jsonb_build_object('run_id', c.run_id, 'event_id', gen_random_uuid(), 'at', e.at - c.back)
          || case when c.failed and e.name = 'RunCompleted' then '{"name":"RunFailed"}' else '{}'::jsonb end) as copy
      where e.agency_id = ${this.#agencyId} and e.run_id = ${this.#model}
    `);
    await this.#db.query(sql`drop table copies`);
    await this.#db.query(sql`analyze flux.runs, flux.run_partitions, flux.run_events`);
  }

  /** A run that failed at event 400,000, was resumed and is done; its events are a batch and its checkpoint by turns. */
  async addLongRun(events: number): Promise<string> {
    const runId = await this.#copyRun(sql`jsonb_build_object('attempt', 2, 'last_seq', ${events}::bigint)`);
    // 1,000,000 looks at the one run that the events name would take a minute and find the row above each time.
    await this.#db.query(sql`set session_replication_role = replica`);
    await this.#addEvents(
      runId,
      events,
      sql`case seq when 1 then 'RunQueued' when 2 then 'RunStarted' when ${failedAt} then 'RunFailed'
        when ${failedAt + 1} then 'RunResumed' when ${events} then 'RunCompleted'
        else case when seq % 2 = 1 then 'BatchCommitted' else 'CheckpointSaved' end end`,
    );
    await this.#db.query(sql`set session_replication_role = origin`);
    await this.#db.query(sql`analyze flux.run_events`);
    return runId;
  }

  /** A run that is under way in the hands of a worker that nobody else waits for. */
  async addRunningRun(events: number): Promise<string> {
    const runId = await this.#copyRun(
      sql`jsonb_build_object('status', 'IN_PROGRESS', 'finished_at', null, 'last_seq', ${events}::bigint,
        'records_total', 1000000)`,
    );
    await this.#addEvents(
      runId,
      events,
      sql`case when seq = 1 then 'RunQueued' when seq % 2 = 1 then 'BatchCommitted' else 'CheckpointSaved' end`,
    );
    await this.#db.query(sql`
      insert into flux.run_partitions
      select (jsonb_populate_record(p, jsonb_build_object('run_id', ${runId}::uuid) || case when p.kind = 'BATCHES'
        then jsonb_build_object('status', 'EXECUTING', 'leased_by', 'elsewhere', 'finished_at', null,
          'lease_expires_at', clock_timestamp() + interval '1 day')
        else '{}'::jsonb end)).*
      from flux.run_partitions p
      where p.agency_id = ${this.#agencyId} and p.run_id = ${this.#model} and p.kind <> 'PUBLISH'
    `);
    return runId;
  }

  /** Appends events at this pace, as a worker does, with the counts that go with them. */
  async appendSteadily(runId: string, pace: { perSecond: number; seconds: number }): Promise<void> {
    const began = performance.now();
    const total = pace.perSecond * pace.seconds;
    for (let sent = 0; sent < total; sent += 1) {
      const early = began + (sent * 1_000) / pace.perSecond - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const name = sent % 2 === 0 ? 'BatchCommitted' : 'CheckpointSaved';
      const event = { name, message: `Batch ${String(sent)} stands.`, stage: 'INGEST', partitionNo: 1 } as const;
      await this.#db.query(sql`
        update flux.run_partitions set records_read = records_read + 20, records_written = records_written + 20,
          updated_at = clock_timestamp()
        where agency_id = ${this.#agencyId} and run_id = ${runId} and kind = 'BATCHES'
      `);
      await insertRunEvents(this.#db, { agencyId: this.#agencyId, runId }, [event], ['IN_PROGRESS'], null);
      await this.#db.query(sql`select pg_notify(${channels.runEvents}, ${runId})`);
    }
  }

  async #copyRun(differences: Sql): Promise<string> {
    const { rows } = await this.#db.query<{ id: string }>(sql`
      insert into flux.runs
      select (jsonb_populate_record(r, jsonb_build_object('run_id', flux.uuid_v7(), 'feed_seq', null) || ${differences})).*
      from flux.runs r
      where r.agency_id = ${this.#agencyId} and r.run_id = ${this.#model}
      returning run_id as id
    `);
    const id = rows[0]?.id;
    if (id === undefined) throw new Error(`expected the run ${this.#model} of ${this.#agencyId}, found none`);
    return id;
  }

  async #addEvents(runId: string, events: number, name: Sql): Promise<void> {
    await this.#db.query(sql`
      insert into flux.run_events (agency_id, run_id, seq, at, name, stage, partition_no, attempt, message)
      select r.agency_id, r.run_id, seq, r.created_at + seq * interval '1 millisecond', ${name}, 'INGEST', 1,
        case when r.attempt = 2 and seq <= ${failedAt} then 1 else r.attempt end, 'Event ' || seq || ' of many.'
      from flux.runs r, generate_series(1, ${events}) as seq
      where r.agency_id = ${this.#agencyId} and r.run_id = ${runId}
    `);
  }
}
